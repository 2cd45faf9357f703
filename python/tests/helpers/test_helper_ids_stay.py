"""An upgrade between an attempt and its retry changes no event id: the digests of the first release."""

import pytest
from airflow_integration.identity import digest
from id_corpus import CORPUS
from workflow_events.to_json import to_json

DIGESTS = {
    "plain": "032bc20b32e0af46",
    "aware": "a1638bf2c70f6010",
    "elsewhere": "6135e7b0f14b00c7",
    "naive": "f73797642f6a6ff0",
    "date": "8f83ff2e0402e502",
    "time": "ad38825a1a308332",
    "span": "e4e43f1e03b3c43c",
    "decimal": "fd5cb3aa44af38e4",
    "uuid": "4f0e532d85b4d976",
    "path": "b9a3f3bf21fc2692",
    "set": "056159c2e651f9fe",
    "mixed set": "181731293ff3bb5d",
    "keys": "dc995d902f5b76ae",
    "items": "53fd4d553b0bb84b",
    "nan": "ffd64318b7a8b52f",
    "large": "3afd3020a593d65f",
    "bytes": "0c0a84e314a32941",
    "surrogate": "4872261c0083cb18",
    "enums": "df6809544339548d",
    "tuples": "43b1a1e75f6c2aea",
    "dataclass": "b04e535f9f1ac2de",
    "model": "4217b961adda7d51",
    "mappings": "c08374286564590f",
    "scalar keys": "5f869b6f7396ffbc",
    "other keys": "09f209973b96fe54",
    "keys of one text": "4e6bfad6dbcf3f55",
    "key nan": "8fa2a484f6cde497",
    "numpy": "7f3b54872d297c0c",
    "numpy keys": "49b87472d13856a6",
    "moments": "f7af5b7ffd82867c",
    "spans": "0294543574777ba1",
    "pandas": "d8cc0d0614bdd696",
    "error": "c2e87609bf610489",
}


@pytest.mark.parametrize("name", list(CORPUS))
def test_the_digest_of_a_payload_has_not_changed(name):
    assert digest(to_json({"data": CORPUS[name]})[0])[:16] == DIGESTS[name]

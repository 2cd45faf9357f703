"""Settings that no client can be made of: a configuration error without secrets, not an unreachable broker."""

from pathlib import Path

import pytest
from workflow_events import KafkaConfigurationError, WorkflowEventProducer

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQ0123456789\n-----END PRIVATE KEY-----\n"


def test_properties_that_do_not_go_together_are_a_configuration_error() -> None:
    with pytest.raises(KafkaConfigurationError, match="linger.ms"):
        WorkflowEventProducer(bootstrap_servers="127.0.0.1:1", connect_timeout=60, properties={"linger.ms": "200000"})


def test_a_key_in_the_place_of_its_path_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("KAFKA_SSL_CAFILE", str(authority))
    monkeypatch.setenv("KAFKA_SSL_CERTFILE", KEY)
    monkeypatch.setenv("KAFKA_SSL_KEYFILE", KEY)
    with pytest.raises(KafkaConfigurationError) as caught:
        WorkflowEventProducer(bootstrap_servers="127.0.0.1:1")
    assert "expected the path of a PEM file" in str(caught.value)
    assert "KAFKA_SSL_KEYFILE" in str(caught.value)
    assert "MIIEvQ" not in str(caught.value)
    assert "MIIEvQ" not in repr(caught.value)

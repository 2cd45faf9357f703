"""The black-box test kit of the Python package: a real Kafka, a silent server, an independent reader, the bridge.

Its invariant: nothing that it starts outlives the test process, however that ends. It knows the package under test
only from outside, and imports nothing of it: it stands on pytest, confluent-kafka and cryptography alone, so that the
tests of every environment (Airflow's too) can use it.
"""

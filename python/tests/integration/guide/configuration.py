"""Every configuration of the guide. A CA file has to be there, because it is read."""

from building_blocks.infrastructure.messaging import KafkaConfig
from integration_events import KafkaConfigurationError

config = KafkaConfig(
    bootstrap_servers="localhost:9092",
    service_name="user-service",
    consumer_group_id="user-service-group",
)

try:
    config = KafkaConfig(
        bootstrap_servers="broker1:9092,broker2:9092",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="your-username",
        sasl_password="your-password",
        ssl_cafile="/path/to/ca-cert",
    )
except KafkaConfigurationError as error:
    assert "ssl_cafile (or the variable KAFKA_SSL_CAFILE)" in str(error), error
    assert "your-password" not in str(error)
else:
    raise AssertionError("there is no such file")

config = KafkaConfig(
    # Performance tuning
    producer_batch_size=32768,  # 32KB
    producer_linger_ms=50,  # Wait up to 50ms to batch
    producer_compression_type="zstd",  # Best compression
    # Reliability
    producer_acks="all",  # Wait for all replicas
    producer_retries=5,
    enable_idempotence=True,  # Was "exactly-once semantics": it is at least once, without repeats by one connection
)

config = KafkaConfig(
    consumer_group_id="my-service-group",
    consumer_auto_offset_reset="earliest",  # Read from beginning
    consumer_enable_auto_commit=False,  # Manual commit for reliability
    consumer_max_poll_records=1000,
    consumer_session_timeout_ms=60000,  # 60 seconds
)

config = KafkaConfig(
    enable_dlq=True,
    dlq_topic_suffix=".dlq",
    max_retry_attempts=3,
)

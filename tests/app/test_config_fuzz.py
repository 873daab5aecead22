"""Random configurations end in an error in words, or the service serves."""


from hypothesis import HealthCheck, given, settings

from tests.app.configfuzz import documents, drive


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_every_configuration_ends_in_a_message_or_serves(text: str) -> None:
    drive(text)

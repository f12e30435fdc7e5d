"""Settings: what the environment says, and one line where it says something wrong."""

from pathlib import Path

import pytest
from msgspec.structs import fields

from lateen.settings import BadSetting, Settings, variable_of
from lateen_invoker.pod_settings import PodSettings


def test_defaults() -> None:
    """Nothing has to be set."""
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.port, settings.data, settings.host) == (8000, Path(".lateen"), "127.0.0.1")
    assert (settings.retention_days, settings.idle_seconds, settings.cors_origins) == (7, 600.0, ())
    assert settings.base_url == "http://127.0.0.1:8000"


def test_all_can_be_set() -> None:
    settings = Settings.from_env(
        {
            "ENVIRONMENT": "production",
            "LOG_LEVEL": "debug",
            "CORS_ORIGINS": "https://a.example, http://b.example:81/",
            "AWS_REGION": "eu-west-1",
            "LATEEN_DATA": "/var/lib/lateen",
            "LATEEN_PORT": "9000",
            "LATEEN_HOSTS": "Lateen.example",
            "LATEEN_URL": "https://lateen.example/",
            "LATEEN_SANDBOX": "off",
            "LATEEN_RETENTION_DAYS": "30",
            "LATEEN_DRAIN_LAG_SECONDS": "5",
        }
    )
    assert settings.cors_origins == ("https://a.example", "http://b.example:81")
    assert (settings.log_level, settings.region, settings.port) == ("DEBUG", "eu-west-1", 9000)
    assert settings.hosts == ("lateen.example",)
    assert settings.base_url == "https://lateen.example"
    assert (settings.sandbox, settings.retention_days, settings.drain_lag_seconds) == (False, 30, 5.0)


def test_an_empty_variable_is_unset() -> None:
    assert Settings.from_env({variable_of(field.name): " " for field in fields(Settings)}) == Settings()


@pytest.mark.parametrize(
    ("environment", "log_format", "json"),
    [
        ("development", "", False),
        ("production", "", True),
        ("development", "json", True),
        ("production", "text", False),
    ],
)
def test_log_format(environment: str, log_format: str, json: bool) -> None:
    """By the environment, unless said otherwise."""
    settings = Settings.from_env({"ENVIRONMENT": environment, "LATEEN_LOG_FORMAT": log_format})
    assert settings.logs_json is json


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LATEEN_PORT", "eight"),
        ("LATEEN_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("CORS_ORIGINS", "console.example"),
        ("CORS_ORIGINS", "https://a.example/path"),
        ("LATEEN_SANDBOX", "maybe"),
        ("LATEEN_IDLE_SECONDS", "0"),
        ("LATEEN_RETENTION_DAYS", "1.5"),
        ("ENVIRONMENT", "a\nb"),
        ("AWS_REGION", "US EAST"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    """In one line, which begins with the variable."""
    with pytest.raises(BadSetting) as refused:
        Settings.from_env({variable: value})
    assert str(refused.value).startswith(f"{variable}: ")
    assert "\n" not in str(refused.value)


def test_every_setting_of_an_invoker_is_documented() -> None:
    """A variable that its README doesn't name does not exist for an operator."""
    readme = (Path(__file__).parents[2] / "invoker" / "README.md").read_text()
    shared = {"environment": "ENVIRONMENT", "log_level": "LOG_LEVEL", "table": "DYNAMODB_TABLE_NAME"}
    for field in fields(PodSettings):
        assert f"`{shared.get(field.name, 'LATEEN_' + field.name.upper())}`" in readme

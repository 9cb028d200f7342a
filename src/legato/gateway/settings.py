"""All settings. `legato.gateway.config` reads them from `legato.toml`, the environment and flags.

Every setting has an effect. Secrets are `SecretStr`: no repr, dump or error shows them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr, create_model, model_validator
from pydantic_core import PydanticCustomError

from legato.api.call_limits import CallRules
from legato.broker.person_limits import PersonRules
from legato.chat.assistant import Assistant, OnUnwatched
from legato.data_dir import default_data_dir
from legato.dialects.registry import DIALECT_TYPES
from legato.disk import is_disk_full
from legato.engines.registry import ENGINE_TYPES
from legato.errors import SettingsError
from legato.fleet.decisions import SchedulerConfig
from legato.gateway.media_settings import AttachmentsSettings, AudioSettings
from legato.gateway.tool_settings import ToolSettings
from legato.gateway.websocket.path_prefix import OWN_SEGMENTS, checked_prefix
from legato.settings_types import Key, Keys, SettingsSection, Stripped, Words

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal["auto", *ENGINE_TYPES, "fleet"]
    """An engine of the registry, the fleet, or `auto`."""


def http_address(host: str, port: int) -> str:
    """Return the URL at which a person on this machine can open a server that listens on `host`, which may be all addresses."""
    name = host.strip("[]")
    try:
        found = ip_address(name)
    except ValueError:
        return f"http://{name}:{port}"
    if found.is_unspecified:
        name = "::1" if found.version == 6 else "127.0.0.1"
    return f"http://[{name}]:{port}" if found.version == 6 else f"http://{name}:{port}"


def _prefix(text: str) -> str:
    prefix = checked_prefix(text)
    if prefix is None:
        raise PydanticCustomError(
            "prefix", "begin with a slash and consist of letters, digits and . _ ~ -, like /chat"
        )
    if prefix and prefix.split("/")[1] in OWN_SEGMENTS:
        raise PydanticCustomError("prefix", "be a path that the server does not use itself, like /chat")
    return prefix


RootPath = Annotated[str, AfterValidator(_prefix)]


class ServerSettings(SettingsSection):
    """`[server]`. `port` 0 selects a free port. `agents_port` is a second port for agents, closed if it is None. `cors_origins`
    are the origins of sites whose pages may call; `*` permits every site.

    `root_path` is the path below which a proxy publishes this server, such as `/chat`. It is not needed if the proxy sends
    `X-Forwarded-Prefix`.

    `websocket` is the token path: `direct` writes frames to the transport itself, `asgi` uses the framework. If
    `database_url` is None, the database is SQLite in `data_dir`.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    agents_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    data_dir: Path = Field(default_factory=default_data_dir)
    cors_origins: Words = ()
    root_path: RootPath = ""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 65536
    websocket: Literal["direct", "asgi"] = "direct"
    database_url: Annotated[SecretStr | None, Field(min_length=1)] = None


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check the networks, and write each as the address of the network and its length."""
    return tuple(_network(name) for name in names)


def _network(name: str) -> str:
    try:
        network = ip_network(name)
    except ValueError:
        try:
            meant = ip_network(name, strict=False)
        except ValueError:
            raise PydanticCustomError(
                "network",
                "hold networks as numbers, like 192.168.1.0/24 or fd00::/8, and not {name}",
                {"name": repr(name[:60])},
            ) from None
        raise PydanticCustomError(
            "network",
            "hold {meant} in place of {name}, which is one address of it",
            {"meant": str(meant), "name": name},
        ) from None
    if not network.prefixlen:
        raise PydanticCustomError(
            "network",
            "not hold {name}: that is every address, and everyone could use the server",
            {"name": name},
        )
    return str(network)


class AuthSettings(SettingsSection):
    """`[auth]`. With `jwt_secret` (HS256) or `jwks_url` (RS256, ES256 …) every request needs a token.

    `user_claim` is the claim with the user, `scope_claim` the claim with the permissions. `audience` is compared with the
    token's `aud`; if only one of the two is set, the token is refused. `issuer` is checked if it is set. `leeway` is the
    number of seconds by which the clock of the issuer may be ahead (`iat`, `nbf`); `exp` has no tolerance.

    Clients in `anonymous_networks`, such as `192.168.1.0/24`, may use the APIs (`/v1`, Ollama's, `/ai`) without a key.
    """

    jwt_secret: Stripped | None = None
    jwks_url: Annotated[str | None, Field(pattern=r"^https?://\S+$")] = None
    audience: Annotated[str | None, Field(min_length=1)] = None
    issuer: Annotated[str | None, Field(min_length=1)] = None
    user_claim: Annotated[str, Field(min_length=1)] = "sub"
    scope_claim: Annotated[str, Field(min_length=1)] = "scope"
    leeway: Annotated[float, Field(ge=0, le=300)] = 10.0
    anonymous_networks: Annotated[Words, AfterValidator(_networks)] = ()

    @property
    def required(self) -> bool:
        """Whether a request needs a token."""
        return self.jwt_secret is not None or self.jwks_url is not None


if TYPE_CHECKING:

    class EnginesSettings(SettingsSection):
        """`[engines]`: one section for each engine type that has settings."""

else:
    EnginesSettings = create_model(
        "EnginesSettings",
        __base__=SettingsSection,
        **{
            name: (engine_type.settings, engine_type.settings())
            for name, engine_type in ENGINE_TYPES.items()
            if engine_type.settings is not None
        },
    )


def _paragraph(text: str | None) -> str | None:
    """Strip surrounding whitespace, which is invisible and which storage may not keep. Return None if nothing is left."""
    if text is not None and "\0" in text:
        raise PydanticCustomError("nul", "hold no NUL character")
    return text.strip() or None if text is not None else None


Disclaimer = Annotated[str | None, AfterValidator(_paragraph)]


class AssistantSettings(SettingsSection):
    """`[assistants.NAME]`: see `legato.chat.assistant.Assistant`, which it becomes."""

    engine: EngineName = "auto"
    model: Annotated[str | None, Field(min_length=1)] = None
    backup_engine: EngineName | None = None
    backup_model: Annotated[str | None, Field(min_length=1)] = None
    system: str | None = None
    history: Annotated[int, Field(ge=1)] = 20
    timeout: Annotated[float, Field(gt=0)] = 300.0
    first_token_timeout: Annotated[float | None, Field(gt=0)] = None
    disclaimer: Disclaimer = None
    tools: Words = ()
    models: Words | None = None
    tool_steps: Annotated[int, Field(ge=1, le=100)] = 8
    tool_seconds: Annotated[float, Field(gt=0, le=86400)] = 300.0
    approval_seconds: Annotated[float, Field(gt=0, le=86400)] = 300.0
    on_unwatched: OnUnwatched = "continue"
    grace_seconds: Annotated[float, Field(ge=0)] = 30.0
    options: dict[str, Any] = Field(default_factory=dict)
    keep_alive: float | str | None = None
    think: bool | str | None = None


if TYPE_CHECKING:

    class DialectsSettings(SettingsSection):
        """`[dialects]`: the assistant of each dialect; a client can select another with `?assistant=`."""

    class DialectSections(SettingsSection):
        """The sections of the dialects that have settings."""

else:
    DialectsSettings = create_model(
        "DialectsSettings",
        __base__=SettingsSection,
        **{
            name: (
                Annotated[
                    str,
                    Field(
                        min_length=1, description=f"The assistant of `{each.paths[0].replace(':path', '')}`."
                    ),
                ],
                "default",
            )
            for name, each in DIALECT_TYPES.items()
            if each.has_assistant
        },
    )
    DialectSections = create_model(
        "DialectSections",
        __base__=SettingsSection,
        **{
            name: (each.settings, each.settings())
            for name, each in DIALECT_TYPES.items()
            if each.settings is not None
        },
    )


class StorageSettings(SettingsSection):
    """`[storage]`. If `durable`, acknowledged data survives a power failure too; commits are slower.

    `text_quota_bytes` limits the messages of one user and the replies to them, all together. A message counts as its text
    and 512 bytes.
    """

    durable: bool = False
    text_quota_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024 * 1024


class LimitsSettings(SettingsSection):
    """`[limits]`: what one person may hold at once, and how often they may ask. A limit of 0 is none. Without authentication there are
    no limits of this kind: the server listens to its own machine.
    """

    sockets: Annotated[int, Field(ge=0)] = 200
    event_streams: Annotated[int, Field(ge=0)] = 100
    replies: Annotated[int, Field(ge=0)] = 100
    uploads: Annotated[int, Field(ge=0)] = 8
    requests_per_minute: Annotated[int, Field(ge=0)] = 6000


class ApiSettings(SettingsSection):
    """`[api]`: what each user may ask of the APIs. 0 is no limit. `requests_per_minute`, if it is not set, is that of `[limits]`."""

    requests_per_minute: Annotated[int | None, Field(ge=0)] = None
    streams: Annotated[int, Field(ge=0)] = 0
    tokens_per_day: Annotated[int, Field(ge=0)] = 0


class AgentKeySettings(SettingsSection):
    """`[fleet.keys.NAME]`: a key that permits certain models only (`models` empty: all)."""

    key: Key
    models: Words = ()


class FleetSettings(SettingsSection):
    """`[fleet]`. A request waits at most `queue_seconds` for a free agent (0: not at all), and at most `queue_size` requests wait.

    With `agent_keys` or `keys`, agents need one. A disconnected or silent agent keeps its jobs for `lease_seconds`. If an
    agent continues a stopped job for `unwanted_seconds`, its connection is closed.
    """

    queue_seconds: Annotated[float, Field(ge=0, le=86400)] = 60.0
    queue_size: Annotated[int, Field(ge=0, le=100_000)] = 256
    lease_seconds: Annotated[float, Field(ge=0.2, le=600)] = 15.0
    unwanted_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    agent_keys: Keys = ()
    keys: dict[str, AgentKeySettings] = Field(default_factory=dict)

    def rules(self) -> SchedulerConfig:
        """Return the configuration of the scheduler."""
        return SchedulerConfig(
            queue_seconds=self.queue_seconds,
            queue_size=self.queue_size,
            lease=self.lease_seconds,
            unwanted_seconds=self.unwanted_seconds,
        )


class Settings(DialectSections):
    """All settings. `config_file` is the `legato.toml` that was read, or None. `[aliases]` are further names of models and
    assistants for clients of the APIs: `"gpt-4o" = "qwen3:8b"`.
    """

    server: ServerSettings = Field(default_factory=ServerSettings)
    auth: AuthSettings = AuthSettings()
    engines: EnginesSettings = EnginesSettings()
    assistants: dict[str, AssistantSettings] = Field(default_factory=dict)
    dialects: DialectsSettings = DialectsSettings()
    tools: dict[str, ToolSettings] = Field(default_factory=dict)
    storage: StorageSettings = StorageSettings()
    limits: LimitsSettings = LimitsSettings()
    api: ApiSettings = ApiSettings()
    attachments: AttachmentsSettings = AttachmentsSettings()
    audio: AudioSettings = AudioSettings()
    fleet: FleetSettings = FleetSettings()
    aliases: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    _config_file: Path | None = PrivateAttr(None)
    _place: Callable[[tuple[str, ...]], str] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _default_assistant(self) -> "Settings":
        self.assistants.setdefault("default", AssistantSettings())
        return self

    def engine_section(self, engine: str) -> Any:
        """Return the section of an engine: of the type that the engine declares, empty if it declares none."""
        return getattr(self.engines, engine, SettingsSection())

    def dialect_section(self, dialect: str) -> Any:
        """Return the section of a dialect: of the type that the dialect declares, empty if it declares none."""
        declared = DIALECT_TYPES[dialect].settings is not None
        return getattr(self, dialect) if declared else SettingsSection()

    def dialect_assistants(self) -> dict[str, str]:
        """Return the assistant of each dialect that has one."""
        return self.dialects.model_dump()

    def person_rules(self) -> PersonRules:
        """Return the limits of each person."""
        if not self.auth.required:
            return PersonRules(None, None, None, None, None)
        limits = self.limits
        return PersonRules(
            limits.sockets or None,
            limits.event_streams or None,
            limits.replies or None,
            limits.uploads or None,
            limits.requests_per_minute or None,
        )

    def call_rules(self) -> CallRules:
        """Return the limits of each user for the APIs."""
        requests = self.api.requests_per_minute
        if requests is None and self.auth.required:
            requests = self.limits.requests_per_minute
        return CallRules(requests or None, self.api.streams or None, self.api.tokens_per_day or None)

    @property
    def config_file(self) -> Path | None:
        return self._config_file

    def read_from(self, config_file: Path | None, place: Callable[[tuple[str, ...]], str]) -> "Settings":
        """Record where the settings come from, and return them. `place` describes the place of the setting at a path."""
        self._config_file = config_file
        self._place = place
        return self

    @contextmanager
    def blaming(self, *path: str) -> Iterator[None]:
        """Add the place of this setting (file and line, variable or flag) to a `SettingsError` that is raised inside.

        :raises SettingsError: the error, with the place.
        """
        try:
            yield
        except SettingsError as error:
            place = self._place(path) if self._place is not None else ""
            raise SettingsError(f"{place}: {error.message}" if place else error.message) from error.__cause__

    def make_assistants(self) -> dict[str, Assistant]:
        """Return the assistants by name. `default` always exists."""
        return {
            name: Assistant(name=name, **{key: getattr(each, key) for key in AssistantSettings.model_fields})
            for name, each in self.assistants.items()
        }

    def make_data_dir(self) -> Path:
        """Return the data directory. If it does not exist, it is created so that only its owner can access it.

        :raises SettingsError: it cannot be created or written.
        """
        path = self.server.data_dir
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            writable = os.access(path, os.W_OK | os.X_OK)
        except OSError as error:
            if is_disk_full(error):
                raise SettingsError(
                    f"The disk of the data directory {path} is full. Make room there, and start again."
                ) from None
            raise SettingsError(
                f"The data directory {path} cannot be made: {error.strerror or error}. "
                "Choose another one with --data-dir or LEGATO_DATA_DIR."
            ) from None
        if not writable:
            raise SettingsError(
                f"The data directory {path} cannot be written by this user. "
                "Choose another one with --data-dir or LEGATO_DATA_DIR, or change its owner."
            )
        return path

"""The permissions of users at the broker of the compose file, a mosquitto with the access list of deploy/mosquitto."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM

import pytest
from deployed import CHANNEL, COMPOSE, DEPLOY, DOMAIN, Broker, broker, documents, run
from propeller_proxy import Registry, embedded
from servers import Process, Server

LAYOUTS = ["registry", "messages/registry"]
OTHER = "other-channel"
USERS = ("proxy", "proplet", "operator", "watcher", "neighbour")
ROLES = ("proplet", "server", "status", "proxy/an-instance")
MAY_WRITE = {
    "proxy": {(channel, role) for channel in (CHANNEL, OTHER) for role in ("server", "status", "proxy/an-instance")},
    "proplet": {(CHANNEL, "proplet")},
    "neighbour": {(OTHER, "proplet")},
    "operator": {(channel, "proplet") for channel in (CHANNEL, OTHER)},
    "watcher": set(),
}
MAY_READ = {
    "proxy": {(channel, role) for channel in (CHANNEL, OTHER) for role in ("proplet", "status", "proxy/an-instance")},
    "proplet": {(CHANNEL, "server"), (CHANNEL, "status")},
    "neighbour": {(OTHER, "server"), (OTHER, "status")},
    "operator": {(channel, role) for channel in (CHANNEL, OTHER) for role in ROLES if role != "proplet"},
    "watcher": {(channel, role) for channel in (CHANNEL, OTHER) for role in ("status", "proxy/an-instance")},
}
TOPICS = [(channel, layout, role) for channel in (CHANNEL, OTHER) for layout in LAYOUTS for role in ROLES]


def topic(channel: str, layout: str, role: str) -> str:
    """Return a topic of a channel."""
    return f"m/{DOMAIN}/c/{channel}/{layout}/{role}"


@pytest.fixture
def acl() -> str:
    """Return the access list with a second device on a channel of its own, as its comments say."""
    text = (DEPLOY / "mosquitto" / "acl").read_text()
    blocks = [block for block in text.split("\n\n") if "\nuser proplet\n" in block]
    assert len(blocks) == 1
    return f"{text}\n{blocks[0].replace('user proplet', 'user neighbour').replace(CHANNEL, OTHER)}\n"


@pytest.fixture
def guarded(tmp_path: Path, acl: str) -> Iterator[Broker]:
    """Run the broker of the compose file."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with broker(folder, acl, ("neighbour",)) as running:
        yield running


@pytest.mark.parametrize("user", USERS)
def test_users_publish_on_their_topics_only(guarded: Broker, user: str) -> None:
    """A proplet and an operator no chunk and no status, the proxy no request, a watcher nothing."""
    for channel, layout, role in TOPICS:
        guarded.publish(user, topic(channel, layout, role), "message")
    for channel, layout, role in TOPICS:
        verdict = "Received" if (channel, role) in MAY_WRITE[user] else "Denied"
        packet = f"PUBLISH from {user} (d0, q1, r0, m1, '{topic(channel, layout, role)}'"
        assert f"{verdict} {packet}" in guarded.log
    assert guarded.log.count("Denied PUBLISH") == len(TOPICS) - 2 * len(MAY_WRITE[user])


def test_users_receive_their_topics_only(tmp_path: Path, acl: str) -> None:
    """A proplet nothing of another channel, a watcher no module, a proplet no request of others."""
    sent: list[tuple[tuple[str, str], str]] = []
    with ExitStack() as running:
        guarded = running.enter_context(broker(tmp_path, f"{acl}user writer\ntopic write #\n", ("neighbour", "writer")))
        subscribers = {}
        for user in USERS:
            command = ["mosquitto_sub", *guarded.login(user), "-t", "m/#", "-F", "%t %p"]
            subscribers[user] = running.enter_context(Process(*command, log=tmp_path / f"{user}.log"))
            guarded.wait_for(f"Sending SUBACK to {user}\n")
        # In the second round every user receives a message after those of the first that it must not receive.
        for number in ("first", "second"):
            for channel, layout, role in TOPICS:
                guarded.publish("writer", topic(channel, layout, role), number)
                sent.append(((channel, role), f"{topic(channel, layout, role)} {number}"))
        for user, subscriber in subscribers.items():
            expected = [line for about, line in sent if about in MAY_READ[user]]
            subscriber.wait_for(f"{expected[-1]}\n")
            assert subscriber.log.splitlines() == expected


@pytest.mark.parametrize(("user", "password"), [("proplet", "wrong"), ("stranger", "")])
def test_users_need_their_password(guarded: Broker, user: str, password: str) -> None:
    """The broker refuses the connection."""
    (guarded.secrets / user).write_text(password)
    command = ["mosquitto_pub", *guarded.login(user), "-t", topic(CHANNEL, "registry", "proplet"), "-m", ""]
    with Process(*command, log=guarded.secrets / "client.log") as client:
        assert client.end() != 0
        assert "not authorised" in client.log


def environment(service: str, guarded: Broker, registry: Server, folder: Path) -> dict[str, str]:
    """Return the environment of a service of the compose file, for a program outside of it."""
    [compose] = documents((COMPOSE / "compose.yaml").read_text())
    variables: dict[str, str] = compose["services"][service]["environment"]
    places = {
        "registry:5000": f"127.0.0.1:{registry.port}",
        "broker:1883": f"127.0.0.1:{guarded.port}",
        "/run/secrets": str(guarded.secrets),
    }
    for there, here in places.items():
        assert there in " ".join(variables.values())
        variables = {name: value.replace(there, here) for name, value in variables.items()}
    own = {"PROXY_STATE_DIR": str(folder / "state"), "PROXY_CACHE_DIR": str(folder / "store")}
    return variables | own | {"PROXY_HTTP_PORT": "off"}


@pytest.mark.parametrize("group", ["", "a-group"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_module_is_delivered(
    tmp_path: Path, guarded: Broker, registry: Server, native: Path, layout: str, group: str
) -> None:
    """By the daemon with the environment of the compose file, alone and in a group; the broker denies nothing."""
    host = f"127.0.0.1:{registry.port}"
    Registry(host, cache_dir=tmp_path / "pushing").push(f"{host}/add:latest", embedded.ADD)
    env = environment("proxy", guarded, registry, tmp_path) | {"PROXY_SHARE_GROUP": group}
    receive = ["mosquitto_sub", *guarded.login("proplet"), "-t", topic(CHANNEL, layout, "server")]
    receive += ["-F", "%p"]
    watch = ["mosquitto_sub", *guarded.login("watcher"), "-t", "m/#", "-F", "%t %p"]
    with (
        Process(native, "run", log=tmp_path / "proxy.log", env=env) as proxy,
        Process(*receive, log=tmp_path / "proplet.log") as proplet,
        Process(*watch, log=tmp_path / "watcher.log") as watcher,
    ):
        proxy.wait_for('"event":"subscribed"')
        guarded.wait_for("Sending SUBACK to proplet\n")
        guarded.wait_for("Sending SUBACK to watcher\n")
        guarded.publish("proplet", topic(CHANNEL, layout, "proplet"), '{"app_name": "add:latest"}', client="requesting")
        watcher.wait_for('"state":"sent"')
        totals = re.findall(r'"state":"sent".*"total_chunks":(\d+)', watcher.log)
        proplet.wait_for(f'"chunk_idx":{int(totals[0]) - 1},')
        assert proxy.end(SIGTERM) == 0, proxy.log
        watcher.wait_for('"online":false')
    answers = [json.loads(line) for line in proplet.log.splitlines()]
    chunks = {answer["chunk_idx"]: b64decode(answer["data"]) for answer in answers}
    assert b"".join(chunks[index] for index in sorted(chunks)) == embedded.ADD
    assert "Denied" not in guarded.log
    watched = [re.fullmatch(r"m/.*/registry/(status|proxy)\S* .*", line) for line in watcher.log.splitlines()]
    assert {match and match[1] for match in watched} == {"status", "proxy"}


def test_replicas_divide_the_requests(tmp_path: Path, guarded: Broker, registry: Server, native: Path) -> None:
    """Each app is sent by one of two, which share the account of the proxy: they may read each other's messages."""
    host, apps = f"127.0.0.1:{registry.port}", [f"app-{number}:latest" for number in range(6)]
    for app in apps:
        Registry(host, cache_dir=tmp_path / "pushing").push(f"{host}/{app}", embedded.ADD)
    receive = ["mosquitto_sub", *guarded.login("proplet"), "-t", topic(CHANNEL, "registry", "server"), "-F", "%p"]
    watch = ["mosquitto_sub", *guarded.login("watcher"), "-t", "m/#", "-F", "%p"]
    with ExitStack() as running:
        proplet, watcher = (
            running.enter_context(Process(*command, log=tmp_path / f"{user}.log"))
            for user, command in {"proplet": receive, "watcher": watch}.items()
        )
        for user in ("proplet", "watcher"):
            guarded.wait_for(f"Sending SUBACK to {user}\n")
        for name in ("one", "two"):
            own = {"PROXY_SHARE_GROUP": "a-group", "PROXY_INSTANCE_ID": name}
            env = environment("proxy", guarded, registry, tmp_path / name) | own
            replica = running.enter_context(Process(native, "run", log=tmp_path / f"{name}.log", env=env))
            replica.wait_for('"event":"subscribed"')
        for app in apps:
            request = json.dumps({"app_name": app})
            guarded.publish("proplet", topic(CHANNEL, "registry", "proplet"), request, client="requesting")
            watcher.wait_for(f'{{"app_name":"{app}","state":"sent"')
        messages = [json.loads(line) for line in watcher.log.splitlines()]
        totals = {seen["app_name"]: seen["total_chunks"] for seen in messages if seen.get("state") == "sent"}
        expected = [(app, index) for app in apps for index in range(totals[app])]
        proplet.wait_for(f'{{"app_name":"{apps[-1]}","chunk_idx":{totals[apps[-1]] - 1},')
        chunks = [json.loads(line) for line in proplet.log.splitlines()]
        assert [(chunk["app_name"], chunk["chunk_idx"]) for chunk in chunks] == expected
    assert {seen["instance"] for seen in messages if seen.get("state") == "sent"} == {"one", "two"}
    assert "Denied" not in guarded.log


def test_the_commands_of_the_page_work(tmp_path: Path, guarded: Broker, registry: Server, native: Path) -> None:
    """They check the set-up, push a module and request it, each as the user that the page names."""
    (tmp_path / "add.wasm").write_bytes(embedded.ADD)
    users = ("proxy", "proplet", "operator")
    proxys, proplets, operators = (environment(user, guarded, registry, tmp_path / user) for user in users)
    with Process(native, "run", log=tmp_path / "proxy.log", env=proxys) as proxy:
        proxy.wait_for('"event":"subscribed"')
        commands: list[tuple[dict[str, str], list[str | Path]]] = [
            (proxys, ["check"]),
            (proplets, ["push", tmp_path / "add.wasm", "add:latest"]),
            (proplets, ["request", "add:latest", "-o", tmp_path / "received.wasm"]),
            (operators, ["request", "add:latest", "-o", tmp_path / "again.wasm"]),
            (operators, ["deliver", "add:latest"]),
        ]
        for env, command in commands:
            ended = run(native, *command, env=env)
            assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("received.wasm", "again.wasm"):
        assert (tmp_path / name).read_bytes() == embedded.ADD
    assert "Denied" not in guarded.log

"""The files for deployment and release, checked without a Docker daemon, a cluster and GitHub."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import propeller_proxy
import pytest
from deployed import COMPOSE, DEPLOY, ROOT, documents, lint, run
from propeller_proxy import _core

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ["base", "example", "replicas"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OF_GLIBC = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
"""The shared libraries of the base image."""
OF_COMMENTS = re.compile(r"^\s*#.*$", re.MULTILINE)


def settings() -> set[str]:
    """Return the names of all settings in the reference, which is generated from the daemon's table."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    lines = re.findall(r"^(?:### |- From a file: |- Also: )(.*)$", page, re.MULTILINE)
    known = {name for line in lines for name in re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", line)}
    assert known >= {name for names, *_ in _core.SETTINGS for name in names}
    return known


def files() -> list[Path]:
    """Return all files of the deployment that are text and belong to the repository."""
    paths = [path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts]
    return sorted([*paths, *WORKFLOWS])


def test_every_setting_exists() -> None:
    """Whose name is in these files, including comments."""
    known = settings()
    assert {"PROXY_HTTP_PORT", "PROXY_CLIENT_KEY_FILE"} <= known
    unknown = {
        (str(path.relative_to(ROOT)), name)
        for path in files()
        for name in re.findall(r"\bPROXY_[A-Z0-9]+(?:_[A-Z0-9]+)*", path.read_text())
        if name not in known
    }
    assert unknown == set()


def test_every_file_is_documented() -> None:
    """In the page about deployment."""
    page = (DEPLOY / "README.md").read_text()
    hidden = {".gitignore", "README.md"}
    assert [path.name for path in files() if path.name not in hidden and f"`{path.name}`" not in page] == []


# The image


def test_the_dockerfile_is_clean() -> None:
    """For hadolint, and has the labels that registries show."""
    labels = ["title", "description", "source", "licenses", "version", "revision"]
    required = [f"--require-label=org.opencontainers.image.{label}:text" for label in labels]
    lint("hadolint", "--no-color", "--strict-labels", *required, DEPLOY / "docker" / "Dockerfile")


def test_the_dockerfile_copies_a_workspace(tmp_path: Path) -> None:
    """Cargo can plan the build from the files that are not ignored."""
    ignored, *admitted = [
        line
        for line in (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert ignored == "*"
    for line in admitted:
        name = line.removeprefix("!")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    command = ["cargo", "tree", "--locked", "--offline", "-p", "propeller-proxy-daemon"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    # The compiler reads no other file.
    sources = [path.read_text() for folder in ("src", "rust-bin") for path in (tmp_path / folder).rglob("*.rs")]
    assert [text for text in sources if re.search(r"include(?:_str|_bytes)?!\(", text)] == []


def test_the_base_image_has_what_the_binary_links(native: Path) -> None:
    """Glibc only."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", native).stdout)
    assert set(needed) <= OF_GLIBC
    assert needed


# The compose file


def compose() -> dict[str, Any]:
    """Return the compose file."""
    [document] = documents((COMPOSE / "compose.yaml").read_text())
    return document


def test_the_compose_file_is_valid() -> None:
    """By the schema of the Compose specification."""
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE / "compose.yaml")


def test_the_compose_file_has_no_dangling_names() -> None:
    """Of files, volumes, secrets, and hosts; and no port is open to other machines."""
    document = compose()
    services, secrets = document["services"], document["secrets"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in document["volumes"], name
        assert set(service.get("secrets", [])) <= secrets.keys()
        assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
        for value in service.get("environment", {}).values():
            if host := re.match(r"\w+://(\w+):", value):
                assert host[1] in services
            if str(value).startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    build = services["proxy"]["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).samefile(DEPLOY / "docker" / "Dockerfile")


def test_a_read_only_root_has_a_folder_for_temporary_files() -> None:
    """With a limit of its size."""
    proxy = compose()["services"]["proxy"]
    assert proxy["read_only"]
    assert [re.sub(r"size=\d+m", "size=", mount) for mount in proxy["tmpfs"]] == ["/tmp:size=,mode=1777"]
    [stateful] = documents((KUBERNETES / "base" / "statefulset.yaml").read_text())
    pod = stateful["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    [name] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"]
    [limit] = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == name]
    assert re.fullmatch(r"\d+Mi", limit)


def test_passwords_are_made_once(tmp_path: Path) -> None:
    """One for each user of the broker, all different."""
    shutil.copy(COMPOSE / "make-secrets", tmp_path)
    made = []
    for _ in range(2):
        subprocess.run([tmp_path / "make-secrets"], check=True)
        made.append({path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1]
    assert made[0].keys() == compose()["secrets"].keys() == set(compose()["services"]["broker"]["secrets"])
    assert len(set(made[0].values())) == len(made[0])
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made[0].values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


# The cluster


@pytest.fixture
def kustomize(tmp_path: Path) -> Path:
    """Return a copy of the manifests with the secret of the example, if there is a kubectl that builds them."""
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl")
    version = re.search(r"Kustomize Version: v(\d+)", run("kubectl", "version", "--client").stdout)
    if not version or int(version[1]) < 4:
        pytest.skip("this kubectl is older than 1.24 and cannot build the overlays")
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "example" / "client-key").write_text("the key")
    return tmp_path / "kubernetes"


def build(kustomize: Path, overlay: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Build an overlay, and return its text and its objects by kind."""
    ended = run("kubectl", "kustomize", kustomize / overlay)
    # Warnings are about deprecated fields.
    assert (ended.returncode, ended.stderr) == (0, "")
    objects = {document["kind"]: document for document in documents(ended.stdout)}
    assert len(objects) == len(documents(ended.stdout))
    return ended.stdout, objects


def test_the_manifests_are_valid() -> None:
    """Each by the schema of its kind."""
    manifests = [path for path in KUBERNETES.glob("*/*.yaml") if path.name != "kustomization.yaml"]
    assert manifests
    lint("kubernetes-validate", "--strict", *manifests)


def test_every_manifest_is_used() -> None:
    """In the kustomization of its folder."""
    for overlay in OVERLAYS:
        [document] = documents((KUBERNETES / overlay / "kustomization.yaml").read_text())
        named = {name for name in document["resources"] if not name.startswith("..")}
        assert named == {path.name for path in (KUBERNETES / overlay).glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlays_build(tmp_path: Path, kustomize: Path, overlay: str) -> None:
    """To valid objects without dangling references."""
    text, objects = build(kustomize, overlay)
    (tmp_path / "built.yaml").write_text(text)
    lint("kubernetes-validate", "--strict", tmp_path / "built.yaml")
    stateful = objects["StatefulSet"]["spec"]
    pod = stateful["template"]["spec"]
    labels = stateful["template"]["metadata"]["labels"].items()
    for selector in (
        stateful["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    assert stateful["serviceName"] == objects["Service"]["metadata"]["name"]
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    [container] = pod["containers"]
    assert [source["configMapRef"]["name"] for source in container["envFrom"]] == [
        objects["ConfigMap"]["metadata"]["name"]
    ]
    volumes = {
        volume["name"]: volume
        for volume in pod["volumes"]
        + [{"name": claim["metadata"]["name"]} for claim in stateful["volumeClaimTemplates"]]
    }
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == volumes.keys()
    data = objects["ConfigMap"]["data"]
    assert {data["PROXY_STATE_DIR"], data["PROXY_CACHE_DIR"]} <= mounts.keys()
    [port] = container["ports"]
    assert data["PROXY_HTTP_PORT"] == str(port["containerPort"])
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    if overlay != "base":
        assert volumes["secrets"]["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]
        given = {f"/run/secrets/propeller-proxy/{key}" for key in objects["Secret"]["data"]}
        assert {value for name, value in data.items() if name.endswith("_FILE")} == given
        assert container["image"] == f"ghcr.io/absmach/propeller-proxy:{propeller_proxy.__version__}"
    # Replicas need a group, or each would answer all requests.
    assert (stateful["replicas"] > 1) == ("PROXY_SHARE_GROUP" in data) == (overlay == "replicas")


def test_pods_keep_to_the_restricted_standard() -> None:
    """The pod security standard that the example's namespace enforces, with a read-only root."""
    [stateful] = documents((KUBERNETES / "base" / "statefulset.yaml").read_text())
    pod = stateful["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"hostNetwork", "hostPID", "hostIPC", "initContainers"}.isdisjoint(pod)
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all({"name", kind} == volume.keys() for volume in pod["volumes"] for kind in volume.keys() - {"name"})
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "emptyDir", "secret"}
    assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()


def test_the_service_monitor_finds_the_service() -> None:
    """No schema of its kind is installed."""
    [monitor] = documents((KUBERNETES / "servicemonitor.yaml").read_text())
    [service] = documents((KUBERNETES / "base" / "service.yaml").read_text())
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }


# The workflows


def test_the_workflows_are_valid() -> None:
    """By the schema of GitHub's workflows; each job has a timeout."""
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_the_workflows_are_safe() -> None:
    """For zizmor: permissions, injections, persisted credentials, poisoned caches."""
    lint("zizmor", "--offline", "--no-progress", "--config", Path(__file__).parent / "zizmor.yml", *WORKFLOWS)


def test_the_commands_of_the_documentation_are_run() -> None:
    """By the job of the tests, after it permits the network namespaces that they need on Ubuntu."""
    [workflow] = documents((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    [permit] = [number for number, step in enumerate(steps) if "apparmor_restrict_unprivileged_userns=0" in step]
    assert permit < steps.index('make "$TARGET"')


def test_what_the_workflows_run_exists() -> None:
    """Targets of the Makefile, files, and needed jobs."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        [workflow] = documents(path.read_text())
        jobs = workflow["jobs"]
        for name, job in jobs.items():
            assert set(job.get("needs", [])) <= jobs.keys()
            assert "timeout-minutes" in job or "uses" in job, name
            for entry in job.get("strategy", {}).get("matrix", {}).get("include", []):
                assert path.name != "ci.yml" or entry["target"] in targets
        text = OF_COMMENTS.sub("", path.read_text())
        assert [name for name in re.findall(r"\bdeploy/[\w./-]+", text) if not (ROOT / name).exists()] == []


def test_a_release_checks_everything_first() -> None:
    """Tests, advisories, and all builds precede every publication, which needs no stored token."""
    [workflow] = documents((ROOT / ".github" / "workflows" / "release.yml").read_text())
    jobs = workflow["jobs"]

    def before(name: str) -> set[str]:
        needs = set(jobs[name].get("needs", []))
        return needs.union(*(before(need) for need in needs))

    publishing = {name for name in jobs if name.startswith("publish-")}
    building = {"test", "check", "wheels", "sdist", "binaries", "image"}
    assert publishing | building == jobs.keys()
    assert all(building <= before(name) for name in publishing)
    # Images are pushed where they are built.
    pushing = {name for name, job in jobs.items() if "write" in job.get("permissions", {}).values()}
    assert {"image"} < pushing
    assert all({"test", "check"} <= before(name) for name in pushing)
    steps = [step for job in jobs.values() for step in job.get("steps", [])]
    assert any("cargo deny --locked check advisories" in step.get("run", "") for step in steps)
    assert set(re.findall(r"secrets\.(\w+)", str(workflow))) == {"GITHUB_TOKEN"}
    python = jobs["publish-python"]
    assert (python["environment"], python["permissions"]) == ("pypi", {"id-token": "write"})

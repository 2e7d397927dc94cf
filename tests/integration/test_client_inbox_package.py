"""``@carillon/inbox`` as a package: what is in it, its types, its size, and how a server imports and renders it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from carillon.version import VERSION
from tests.client_inbox_build import Packed, shop
from tests.client_node_build import CLIENTS, ROOT, run

_PAGE = ROOT / "services/realtime/page"
_SOURCE = CLIENTS / "inbox" / "src"

# The most that a page loads for each import; a little more than was measured.
_LIMITS = re.findall(
    r"^\| `(@carillon/inbox(?:/[a-z]+)?)` \|.*\| ([0-9.]+) kB \|$",
    (CLIENTS / "inbox" / "README.md").read_text(),
    re.MULTILINE,
)

_RENDERED = (
    "<h1>0<!-- --> of <!-- -->0</h1>"
    '<carillon-inbox class="bell" url="https://notify.example.com" locale="" style="float:right" theme="dark"'
    ' no-toasts=""></carillon-inbox>'
    '<carillon-preferences url="" locale="" id="preferences" worker="/sw.js"></carillon-preferences>\n'
)


@pytest.fixture(scope="module")
def newest(inbox_package: Packed, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package was installed into, with the newest React."""
    return shop(pytestconfig.rootpath / ".pytest_cache" / "node", inbox_package, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def oldest(inbox_package: Packed, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the oldest React that it works with."""
    cache = pytestconfig.rootpath / ".pytest_cache" / "node"
    return shop(cache, inbox_package, tmp_path_factory.mktemp("shop18"), "react18")


def test_it_has_the_modules_of_the_page_as_they_are_with_types(inbox_package: Packed, newest: Path) -> None:
    installed = newest / "node_modules/@carillon/inbox"
    demo = {"index.html", "page.css", "page.js"}
    for path in sorted(_PAGE.rglob("*")):
        name = path.relative_to(_PAGE).as_posix()
        assert (installed / "dist/page" / name).exists() is (name not in demo)
        if path.is_file() and name not in demo:
            assert (installed / "dist/page" / name).read_bytes() == path.read_bytes()
            typed = path.suffix == ".js" and name != "carillon-sw.js"
            assert (installed / "dist/page" / f"{name.removesuffix('.js')}.d.ts").exists() is typed
    assert {"package.json", "README.md", "dist/LICENSE"} <= inbox_package.files
    assert not [name for name in inbox_package.files if not name.startswith("dist/") and "/" in name]


def test_every_export_is_there(newest: Path) -> None:
    installed = newest / "node_modules/@carillon/inbox"
    package = json.loads((installed / "package.json").read_text())
    exported = [
        path
        for target in package["exports"].values()
        for path in (target.values() if isinstance(target, dict) else [target])
    ]
    assert [path for path in [*exported, *package["sideEffects"]] if not (installed / path).is_file()] == []
    # Those that define an element when they are imported, and those that are there to import them.
    defining = {f"./dist/page/{path.name}" for path in _PAGE.glob("*.js") if "\ndefine(" in path.read_text()}
    assert defining < set(package["sideEffects"])


@pytest.mark.parametrize(
    ("react", "resolution", "module"), [("newest", "bundler", "esnext"), ("oldest", "nodenext", "nodenext")]
)
def test_a_page_in_typescript_compiles(
    request: pytest.FixtureRequest, react: str, resolution: str, module: str
) -> None:
    options = f"--noEmit --strict --exactOptionalPropertyTypes --jsx react-jsx --target es2022 --module {module}"
    arguments = f"{options} --moduleResolution {resolution} --types".split()
    try:
        run(request.getfixturevalue(react), "node_modules/typescript/bin/tsc", *arguments, "", "use.tsx")
    except subprocess.CalledProcessError as error:
        pytest.fail(str(error.stdout), pytrace=False)


@pytest.mark.parametrize("react", ["newest", "oldest"])
def test_a_server_imports_it_and_renders_its_components(request: pytest.FixtureRequest, react: str) -> None:
    assert run(request.getfixturevalue(react), "server.mjs") == _RENDERED


def test_its_own_modules_need_no_browser_to_be_imported(newest: Path) -> None:
    modules = sorted((newest / "node_modules/@carillon/inbox/dist").rglob("*.js"))
    lines = [f"await import({json.dumps(str(path))});" for path in modules if path.name != "carillon-sw.js"]
    (newest / "each.mjs").write_text("\n".join(lines))
    assert run(newest, "each.mjs") == ""


def test_a_page_loads_no_more_than_the_readme_says(newest: Path) -> None:
    whole = {name: f'import * as all from "{name}"; console.log(all);' for name, _ in _LIMITS}
    assert len(whole) == 5
    built = json.loads(run(newest, "sizes.mjs", *whole.values()))
    kilobytes = {name: built[line]["bytes"] / 1000 for name, line in whole.items()}
    assert [name for name, limit in _LIMITS if kilobytes[name] > float(limit)] == [], kilobytes


def test_a_page_loads_only_what_it_imports(newest: Path) -> None:
    imports = (
        'import "@carillon/inbox/client"; import "@carillon/inbox/react";',
        'import "@carillon/inbox/inbox";',
        'import "@carillon/inbox/preferences";',
        'import { CarillonClient } from "@carillon/inbox/client"; console.log(CarillonClient);',
        'import { CarillonInbox } from "@carillon/inbox/react"; console.log(CarillonInbox);',
        'import { useUnreadCount } from "@carillon/inbox/react"; console.log(useUnreadCount);',
    )
    built = json.loads(run(newest, "sizes.mjs", *imports))
    nothing, inbox, preferences, client, react, hook = (set(built[line]["modules"]) for line in imports)
    assert not [name for name in nothing | hook if name.startswith("page/")]
    assert not inbox & {"page/preferences-element.js", "page/web-push.js"}
    assert not preferences & {"page/inbox-element.js", "page/toasts.js"}
    assert not client & {"page/inbox-element.js", "page/preferences-element.js", "page/dom.js", "page/web-push.js"}
    assert not react & {"page/preferences-element.js", "page/web-push.js"}
    assert "page/inbox-element.js" in inbox & react
    assert "page/preferences-element.js" in preferences


@pytest.mark.parametrize("element", ["inbox", "preferences"])
def test_the_types_and_the_components_know_every_event(element: str) -> None:
    code = (_PAGE / f"{element}-element.js").read_text()
    fired = set(re.findall(r'(?:say|CustomEvent)\("(carillon-[a-z]+)"', code))
    assert fired
    typed = set(re.findall(r'^  "(carillon-[a-z]+)": CustomEvent', _text(f"{element}.ts"), re.MULTILINE))
    heard = set(re.findall(r'on\w+: "(carillon-[a-z]+)"', _text(f"react/{element}.ts")))
    assert (fired - typed, fired - heard) == (set(), set())


def _text(name: str) -> str:
    return (_SOURCE / name).read_text()


def test_its_version_is_carillons() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((CLIENTS / "inbox" / name).read_text())["version"] == VERSION


@pytest.mark.parametrize("lock", ["clients/inbox", "tests/client_inbox", "tests/client_inbox/react18"])
def test_the_locks_name_no_registry(lock: str) -> None:
    assert '"resolved"' not in (ROOT / lock / "package-lock.json").read_text()

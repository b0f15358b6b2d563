"""What docs/trust.md says of the tests, and what the docs say of schedulers."""

import ast
import ipaddress
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "templates" / "trust.md").read_text()


def test_every_test_that_is_named_exists():
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE)
    assert len(named) > 60
    missing = [(file, name) for file, name in named if f"\ndef {name}(" not in (TESTS / file).read_text()]
    assert not missing


def test_every_promise_names_a_test():
    rows = [row for row in PAGE.splitlines() if row.startswith("| ") and "::" not in row]
    assert {row.split("|")[1].strip() for row in rows} == {"promise", "part", "{{ part }}", "fault", "{{ kind }}"}


def dask_lines() -> list[str]:
    """The commands of the docs that start a scheduler or worker, with the values of their variables."""
    found = []
    for page in (ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("templates/*.md")):
        values: dict[str, str] = {}
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                line = re.sub(r"\$(\w+)", lambda name, values=values: values.get(name[1], name[0]), line)
                if given := re.match(r'(\w+)="(.*)"', line):
                    values[given[1]] = given[2]
                elif re.search(r"\bdask[ -](scheduler|worker)\b", line):
                    found.append(line)
    return found


def is_private(address: str) -> bool:
    return ipaddress.ip_address(address).is_private and address != "0.0.0.0"


def test_nothing_of_dask_in_the_docs_listens_on_every_address():
    lines = dask_lines()
    assert {"scheduler", "worker"} == {re.search(r"dask[ -](\w+)", line)[1] for line in lines} and len(lines) >= 7
    for line in lines:
        host = re.search(r"--host (?:tls://)?(\S+)", line)
        assert is_private(host[1]) if host else re.search(r"--interface \w+", line), line
        pages = re.search(r"--dashboard-address (\S+):\d+", line)
        assert pages and ipaddress.ip_address(pages[1]).is_loopback, line


def test_no_module_reads_a_pickle_of_a_file():
    calls, imported = [], set()
    for path in (path for pattern in ("*.py", "*/*.py") for path in ROOT.glob(pattern) if path.parent != TESTS):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                calls.append((path.name, ast.unparse(node)))
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported |= {getattr(node, "module", None), *(alias.name for alias in node.names)}
    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert {name for name, _ in calls} >= {"state.py", "store.py", "predictions.py"}
    for name, call in calls:
        assert "allow_pickle=True" not in call and ("weights_only=True" in call or "torch" not in call), name

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


def test_no_scheduler_of_the_docs_listens_on_every_address():
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    lines = [line for page in pages for line in page.read_text().splitlines() if line.startswith("dask scheduler")]
    assert lines
    for line in lines:
        address = re.search(r"--host (?:tls://)?(\S+)", line)
        assert address and ipaddress.ip_address(address[1]).is_private and address[1] != "0.0.0.0"


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

"""The report of a run: report.json holds what is promised, and index.html shows it to people."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from twingrad.core.catalogue import LAYERS
from twingrad.core.files import OutputError
from twingrad.parity_tests.judge.case import Case
from twingrad.parity_tests.judge.options import Options
from twingrad.parity_tests.judge.record import BINS, Record
from twingrad.parity_tests.runs import report
from twingrad.parity_tests.runs.suite import Collector, LayerVerdict

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
TANH = "tanh (float32): grad_x[3] is wrong on numpy, right on torch"
FINDING = {
    "text": f"{TANH}\n  definition 1.0   (error allowed: 1e-07)\n  </script><b>numpy</b> 1.5",
    "replay": "twingrad parity --replay .twingrad/failures/tanh-float32-0.json",
    "tensor": "grad_x",
    "wrong": ["numpy"],
    "worse": [],
}


def measured(layer: str, what: str, backend: str, ulp: float, **more: Any) -> dict[str, Any]:
    """Return a row as the record writes it, with ten errors of 0 and one of `ulp`."""
    worst = {"index": [3], "got": 1.5, "expected": 1.0, "ulp": ulp, "inputs": "x = array([1.0])"}
    bins = [10] + [0] * (BINS - 1)
    bins[int(np.clip(np.ceil(np.log2(ulp)) + 6, 1, BINS - 1))] = 1
    row = {"layer": layer, "dtype": "float32", "what": what, "backend": backend, "cases": 5}
    row |= {"elements": 11, "bins": bins, "ulp": ulp, "ratio": ulp / 64, "worst": worst}
    is_gradient = what.startswith("grad_")
    row |= {
        "file": "test_gradient" if is_gradient else "test_forward",
        "law": f"test_{'gradients' if is_gradient else 'outputs'}_are_within_their_bound",
    }
    return row | more


def law(layer: str | None, name: str, parameters: str, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "node": f"test_{name}.py::test_{name}s_are_within_their_bound[{parameters}]",
        "law": f"test_{name}s_are_within_their_bound",
        "file": f"test_{name}",
        "layer": layer,
        "dtype": "float32" if layer else None,
        "outcome": "passed",
        "seconds": 0.25,
        "findings": [],
        "message": "",
    }
    return entry | more


def collected(*extra: dict[str, Any], fails: bool = False) -> Collector:
    """Return what a small run would have collected; `fails`: one law with one finding."""
    collector = Collector(Options(("tanh", "linear", "relu"), seed=3), Progress(disable=True))
    collector.measured = [
        measured(layer, what, backend, ulp * (1 + (backend == "torch")))
        for layer, what, ulp in (
            ("tanh", "y", 0.75),
            ("tanh", "grad_x", 1.5),
            ("linear", "y", 12.0),
            ("linear", "grad_weight", 40.0),
            ("relu", "y", 0.25),
        )
        for backend in ("numpy", "torch")
    ]
    collector.measured += extra
    for entry in collector.measured:
        collector.layers.setdefault(entry["layer"], LayerVerdict()).add(entry, "numpy")
    collector.laws = [
        law(layer, name, f"{layer}-float32")
        for layer in ("tanh", "linear", "relu")
        for name in ("output", "gradient")
    ]
    collector.laws += [
        law(None, "propertie", "linear-an upstream of 0 gives 0-float32"),
        law(None, "constant", ""),
        law("relu", "deviation", "relu-float32", outcome="expected"),
    ]
    if fails:
        collector.laws[1] |= {"outcome": "failed", "findings": [FINDING], "message": TANH}
        collector.failed = 1
        collector.findings = {("tanh", "float32", "grad_x"): str(FINDING["text"])}
        collector.other = [("test_also.py::test_this[tanh]", "assert 1 == 2", "tanh")]
    collector.passed = len(collector.laws) - collector.failed
    return collector


def longer_runs() -> dict[str, dict[str, Any]]:
    """Return a sweep and a run of mutants, as their commands write them."""
    witness = {"bits": "0x3f800001", "x": 1.0000001}
    sweep = {"function": "tanh", "direction": "y", "count": 2**32, "max_ulp": 0.75}
    sweep |= {"max_ulp_at": witness, "max_below_normal": 0.5, "max_below_normal_at": witness}
    sweep |= {"wrong_class": 0, "out_of_range": 2, "out_of_range_at": witness, "turns": 0}
    sweep |= {"above": [9, 9, 0, 0, 0, 0, 0], "truth_at_max": "0.76159420"}
    limits = [0.5, 0.501, 1.0, 2.0, 4.0, 100.0, 1e4]
    survivor = {"kernel": "tanh", "file": "tanh.py", "line": 9, "function": "forward"}
    survivor |= {"operator": "sign", "original": "y = x + 1", "mutated": "y = x - 1"}
    return {
        "exhaustive": {
            "schema": 1,
            "twingrad": "0.1.0",
            "dtype": "float32",
            "environment": {"cpu": {"model": "a processor"}},
            "limits_ulp": limits,
            "rows": [sweep | {"backend": backend} for backend in ("numpy", "torch")],
        },
        "mutants": {
            "schema": 1,
            "versions": {},
            "made_at": "2026-01-01T00:00:00+00:00",
            "seed": 0,
            "totals": {"mutants": 7, "killed": 6, "equivalent": 0, "not_justified": 1},
            "by_law": {"forward": 6},
            "matrix": {"tanh": {"sign": [2, 3], "tiny": [4, 4]}},
            "survivors": [survivor | {"reason": None}],
        },
    }


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, with no results of longer runs but those put there."""
    monkeypatch.chdir(tmp_path)
    for name, (paths, key, command) in report.OTHERS.items():
        monkeypatch.setitem(report.OTHERS, name, (paths[:1], key, command))
    return tmp_path


def put(results: dict[str, dict[str, Any]]) -> None:
    for name, content in results.items():
        path = report.OTHERS[name][0][0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")


def written(collector: Collector) -> tuple[dict[str, Any], str]:
    """Write a report; return what its JSON holds, and its page."""
    page = report.write(Path("out") / "report", collector, 12.34)
    assert page == Path("out") / "report" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "report.json"]

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = page.with_name("report.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return content, page.read_text(encoding="utf-8")


def data_of(page: str) -> Any:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(data)


# report.json


@pytest.mark.usefixtures("alone")
def test_the_report_holds_what_is_promised() -> None:
    content, _ = written(collected())
    assert content["schema"] == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", content["twingrad"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d\d:\d\d", content["made"])
    assert content["options"]["layers"] == ["tanh", "linear", "relu"]
    assert content["options"]["backends"] == ["numpy", "torch"]
    assert content["environment"]["cpu"]["cores"] >= 1
    cases = content["summary"].pop("cases")
    assert content["summary"] == {"passed": 9, "failed": 0, "expected": 1, "seconds": 12.3}
    assert cases == sum(row.count for row in collected().layers.values())
    kinds: dict[str, Any] = {
        "node": str, "file": str, "law": str, "layer": str | None, "dtype": str | None,
        "outcome": str, "seconds": float, "message": str, "wrong": list, "worse": list,
    }  # fmt: skip
    assert len(content["laws"]) == 9
    for entry in content["laws"]:
        assert set(entry) == set(kinds)
        assert all(isinstance(entry[name], kind) for name, kind in kinds.items())
    numbers = ("cases", "elements", "ulp", "ratio", "share", "c")
    assert len(content["rows"]) == 10
    for row in content["rows"]:
        assert {"law", "file", "layer", "dtype", "what", "backend", "recorded"} <= set(row)
        assert all(np.isfinite(row[name]) for name in numbers)
        assert row["share"] == row["ratio"] / row["c"]
        assert sum(row["bins"]) == row["elements"]
        assert set(row["worst"]) == {"index", "got", "expected", "ulp", "inputs"}
    assert [len(content["bins"][side]) for side in ("lower", "upper")] == [BINS, BINS]
    assert content["findings"] == []
    assert content["exhaustive"] is None
    assert content["mutants"] is None


@pytest.mark.usefixtures("alone")
def test_a_law_about_one_layer_is_found_by_its_parameters() -> None:
    content, _ = written(collected())
    about = {entry["law"]: (entry["layer"], entry["dtype"]) for entry in content["laws"]}
    assert about["test_properties_are_within_their_bound"] == ("linear", "float32")
    assert about["test_constants_are_within_their_bound"] == (None, None)


@pytest.mark.usefixtures("alone")
def test_nan_and_infinity_are_words() -> None:
    extra = measured("tanh", "y", "numpy", 1.0) | {"ulp": math.inf, "ratio": math.inf}
    extra["worst"] |= {"got": math.nan}
    content, page = written(collected(extra))
    (row,) = [row for row in content["rows"] if row["ulp"] == "inf"]
    assert (row["ratio"], row["share"], row["worst"]["got"]) == ("inf", "inf", "nan")
    assert data_of(page) == content


@pytest.mark.usefixtures("alone")
def test_what_was_exact_has_no_worst_case() -> None:
    content, _ = written(collected(measured("sum", "y", "numpy", 1.0, worst={})))
    assert [row["worst"] for row in content["rows"] if row["layer"] == "sum"] == [None]


@pytest.mark.usefixtures("alone")
def test_long_inputs_are_cut_with_a_note() -> None:
    extra = measured("tanh", "y", "numpy", 1.0)
    extra["worst"] |= {"inputs": "1" * 100_000}
    content, _ = written(collected(extra))
    (inputs,) = [row["worst"]["inputs"] for row in content["rows"] if row["ulp"] == 1.0]
    assert inputs.endswith("\n[94,000 characters are left out]")
    assert len(inputs) < 7000


@pytest.mark.usefixtures("alone")
def test_a_finding_stands_in_both_files_and_ends_neither() -> None:
    content, page = written(collected(fails=True))
    (found,) = content["findings"]
    assert found["text"] == FINDING["text"]
    assert found["replay"] == FINDING["replay"]
    assert (found["wrong"], found["worse"], found["tensor"]) == (["numpy"], [], "grad_x")
    assert (found["layer"], found["dtype"]) == ("tanh", "float32")
    assert content["summary"]["failed"] == 1
    assert [entry["wrong"] for entry in content["laws"] if entry["message"]] == [["numpy"]]
    assert data_of(page) == content
    assert page.count("</script>") == 2


@pytest.mark.usefixtures("alone")
def test_of_several_findings_on_a_tensor_the_plainest_stands() -> None:
    collector = collected(fails=True)
    longer = FINDING | {"text": f"{FINDING['text']}\nand more"}
    other = FINDING | {"tensor": "y"}
    collector.laws[0] |= {"outcome": "failed", "findings": [longer, other]}
    content, _ = written(collector)
    texts = {found["tensor"]: found["text"] for found in content["findings"]}
    assert texts == {"grad_x": FINDING["text"], "y": FINDING["text"]}


@pytest.mark.usefixtures("alone")
def test_what_could_not_be_collected_is_reported() -> None:
    collector = collected()
    collector.failed, collector.other = 1, [("test_x.py", "SyntaxError: invalid syntax", None)]
    content, _ = written(collector)
    (other,) = content["other"]
    assert other == {"node": "test_x.py", "text": "SyntaxError: invalid syntax", "layer": None}


@pytest.mark.usefixtures("alone")
def test_results_of_longer_runs_are_taken_in_where_there_are_any() -> None:
    content, _ = written(collected())
    assert content["sources"] == {
        "exhaustive": "make it with: twingrad parity --exhaustive",
        "mutants": "make it with: twingrad mutants --json .twingrad/mutants.json",
    }
    put(longer_runs())
    content, _ = written(collected())
    assert {name: content[name] for name in longer_runs()} == longer_runs()
    assert content["sources"]["mutants"] == str(Path(".twingrad") / "mutants.json")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("text", ["{", "[1]", '{"schema": 2, "rows": []}', '{"schema": 1}'])
def test_a_damaged_result_is_named_and_left_out(text: str) -> None:
    put(longer_runs())
    path = report.OTHERS["exhaustive"][0][0]
    path.write_text(text, encoding="utf-8")
    content, _ = written(collected())
    assert content["exhaustive"] is None
    assert content["sources"]["exhaustive"].startswith(f"{path} cannot be read; ")


def test_a_folder_that_cannot_be_written_is_one_line(alone: Path) -> None:
    file = alone / "file"
    file.write_text("what stood here")
    with pytest.raises(OutputError) as caught:
        report.write(file / "report", collected(), 1.0)
    assert str(caught.value).startswith(f"cannot write {file / 'report' / 'report.json'}: ")
    assert "\n" not in str(caught.value)
    assert file.read_text() == "what stood here"


@pytest.mark.usefixtures("alone")
def test_an_error_lies_between_the_edges_of_its_bin() -> None:
    content, _ = written(collected())
    lower, upper = (np.array(content["bins"][side], float) for side in ("lower", "upper"))
    for ulp in (0.0, 1e-9, 1 / 32, 0.4999, 0.5, 1.0, 3.0, 2.0**21, 2.0**22, 1e300):
        record = Record()
        one = np.ones(1)
        case = Case(LAYERS["tanh"], {"x": one}, {}, one)
        record.add(("tanh", "float32", "y", "numpy"), ulp * one, one, (one, one), one[None], case)
        (row,) = record.drain()
        at = row["bins"].index(1)
        assert lower[at] <= ulp
        assert ulp < upper[at] or ulp == upper[at] == 0
    assert list(lower[1:]) == list(upper[:-1])


# index.html


@pytest.mark.usefixtures("alone")
def test_the_page_asks_nothing_of_the_network() -> None:
    _, page = written(collected())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "http" not in policy[1]
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link|<img|<iframe|\bsrc=|url\(|@import|\bimport\(|fetch\(", page)


DRIVER = """
const seen = {};
const rows = () => [...document.querySelectorAll("tr.row")].map((row) => row.dataset.layer);
const press = (name) => {
  const button = document.querySelector(`[data-focus="${name}"], [data-toggle="${name}"]`);
  button.focus();
  button.click();
};
const text = (selector) => document.querySelector(selector)?.innerText.replace(/\\s+/g, " ") ?? "";
const type = (words) => {
  const input = document.getElementById("filter");
  input.value = words;
  input.dispatchEvent(new Event("input"));
};
ACTIONS
seen.errors = window.errors;
seen.widths = [document.documentElement.scrollWidth, window.innerWidth];
if (parent !== self) parent.postMessage(JSON.stringify(seen), "*");
const pre = document.createElement("pre");
pre.id = "seen";
pre.textContent = JSON.stringify(seen);
document.body.append(pre);
"""
WATCH = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
for (const name of ["error", "warn"]) console[name] = (...words) => errors.push(words.join(" "));
</script>"""
# A window has a least width, which a phone is below; a frame has none.
FRAME = """<!doctype html><meta charset="utf-8"><pre id="seen"></pre><script>
addEventListener("message", (event) => {
  document.getElementById("seen").textContent = event.data;
});
</script><iframe src="driven.htmlHASH" style="border: 0; width: 390px; height: 844px"></iframe>"""

Drive = Callable[..., dict[str, Any]]


@pytest.fixture
def drive(alone: Path) -> Drive:
    """Open the page of a collector in a browser, act in it, and return what a script sees."""

    def run(
        collector: Collector, actions: str, address: str = "", phone: bool = False
    ) -> dict[str, Any]:
        assert CHROMIUM is not None
        _, page = written(collector)
        script = f"<script>{DRIVER.replace('ACTIONS', actions)}</script></body>"
        driven = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", script)
        (alone / "driven.html").write_text(driven, encoding="utf-8")
        (alone / "frame.html").write_text(FRAME.replace("HASH", address), encoding="utf-8")
        url = f"{alone.as_uri()}/" + ("frame.html" if phone else f"driven.html{address}")
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"]
        arguments += [f"--user-data-dir={alone / 'profile'}", "--virtual-time-budget=5000"]
        done = subprocess.run(
            [CHROMIUM, *arguments, "--dump-dom", url],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
        assert found is not None, done.stdout[-2000:]
        seen: dict[str, Any] = json.loads(html.unescape(found[1]))
        return seen

    return run


@needs_a_browser
def test_a_column_sorts_both_ways(drive: Drive) -> None:
    actions = """
seen.first = rows();
press("sort numpy y"); seen.down = rows();
press("sort numpy y"); seen.up = rows();
seen.sorted = document.querySelector("th[aria-sort]").innerText;
seen.focus = document.activeElement.dataset.focus;
press("sort layer"); seen.named = rows();
press("sort verdict"); seen.verdict = rows();
"""
    seen = drive(collected(), actions)
    nowhere = "(no single layer)"
    assert seen["first"] == ["linear", "relu", "tanh", nowhere]
    assert seen["down"] == ["linear", "tanh", "relu", nowhere]
    assert seen["up"] == ["relu", "tanh", "linear", nowhere]
    assert seen["sorted"].startswith("y, ulp")
    assert seen["focus"] == "sort numpy y"
    assert seen["named"] == seen["verdict"] == seen["first"]
    assert seen["errors"] == []


@needs_a_browser
def test_the_filter_looks_at_layers_and_laws(drive: Drive) -> None:
    actions = """
type("line"); seen.layer = rows();
type("gradients bound"); seen.law = rows(); seen.cells = text("tr.row[data-layer=tanh]");
type("zebra"); seen.none = rows(); seen.count = text("#count");
type(""); press("float64"); press("float32"); seen.dtype = rows();
press("float32"); press("torch"); seen.columns = text("table.main thead");
press("numpy"); seen.last = document.querySelectorAll("[data-toggle=numpy][aria-pressed=true]").length;
"""  # noqa: E501
    seen = drive(collected(), actions)
    assert seen["layer"] == ["linear"]
    assert seen["law"] == ["linear", "relu", "tanh"]
    nothing = "\N{EN DASH}"
    assert seen["cells"] == f"tanh agree 1 5 {nothing} 1.50 2 % {nothing} 3.00 5 %"
    assert seen["none"] == []
    assert seen["count"] == "nothing has such a name"
    assert seen["dtype"] == ["linear", "relu", "tanh", "(no single layer)"]
    assert "numpy" in seen["columns"]
    assert "torch" not in seen["columns"]
    assert seen["last"] == 1
    assert seen["errors"] == []


@needs_a_browser
@pytest.mark.parametrize("phone", [False, True])
def test_a_row_opens_and_the_page_does_not_scroll_sideways(drive: Drive, phone: bool) -> None:
    put(longer_runs())
    actions = """
press("open linear");
seen.detail = text("tr.detail");
seen.plots = document.querySelectorAll("tr.detail figure").length;
seen.bars = document.querySelectorAll("tr.detail rect").length;
press("case linear|grad_weight|float32|torch");
seen.inputs = text("tr.held");
seen.hash = location.hash;
seen.finding = text("#findings");
seen.exhaustive = text("#exhaustive");
seen.mutants = text("#mutants");
seen.heading = text("h1");
press("open linear"); seen.closed = document.querySelectorAll("tr.detail").length;
press("open tanh"); seen.failing = text("tr.detail");
"""
    extra = measured("tanh", "grad_x", "numpy", 1.0) | {"ulp": math.inf, "ratio": math.inf}
    seen = drive(collected(extra, fails=True), actions, phone=phone)
    assert seen["heading"] == "8 laws hold, 1 does not"
    assert seen["plots"] == 2
    assert seen["bars"] == 8
    assert "outputs are within their bound holds 250 ms" in seen["detail"]
    assert "properties are within their bound: an upstream of 0 gives 0" in seen["detail"]
    assert "# grad_weight[3] is 1.5 # it should be 1: off by 80.00 ulp" in seen["inputs"]
    assert "x = array([1.0])" in seen["inputs"]
    assert seen["hash"] == "#open=linear"
    assert TANH in seen["finding"]
    assert "break, too test_also.py::test_this[tanh]" in seen["finding"]
    assert "assert 1 == 2" not in seen["finding"]
    assert "</script><b>numpy</b> 1.5" in seen["finding"]
    assert "0x3f800001" in seen["exhaustive"]
    assert "6 of 7 mutants" in seen["mutants"]
    assert "1 lives and should not" in seen["mutants"]
    assert seen["closed"] == 0
    assert "fails 250 ms" in seen["failing"]
    assert "\N{INFINITY}" in seen["failing"]
    assert seen["errors"] == []
    content, window = seen["widths"]
    assert window == (390 if phone else 1280)
    assert content <= window


@needs_a_browser
def test_the_address_brings_the_same_view_again(drive: Drive) -> None:
    address = "#sort=numpy%20y&order=up&filter=bound&dtype=float32&backend=torch,numpy&open=relu"
    actions = """
seen.rows = rows();
seen.open = [...document.querySelectorAll("tr.open")].map((row) => row.dataset.layer);
seen.filter = document.getElementById("filter").value;
seen.pressed = [...document.querySelectorAll("[aria-pressed=true]")].map((one) => one.innerText);
press("sort numpy y"); seen.hash = location.hash;
"""
    seen = drive(collected(), actions, address)
    assert seen["rows"] == ["relu", "tanh", "linear", "(no single layer)"]
    assert seen["open"] == ["relu"]
    assert seen["filter"] == "bound"
    assert seen["pressed"] == ["float32", "numpy", "torch"]
    assert seen["hash"] == "#sort=numpy%20y&order=down&filter=bound&dtype=float32&open=relu"
    assert seen["errors"] == []

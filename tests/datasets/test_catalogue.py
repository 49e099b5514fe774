"""The catalogue: what it names, and the real download against a local server of the original files."""

import gc
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import scalingeq.datasets as data
from scalingeq.datasets import catalogue
from scalingeq.datasets.public_sets import PUBLIC_SETS
from scalingeq.errors import ArchiveError, DataError

# Where the files of a repository lie in the shared folder, by the end of their path.
FOLDERS = {
    "epoch-research/analyzing-chinchilla": ("data/", "epoch_chinchilla/"),
    "thu-yao-01-luo/MultiPowerLaw": ("loss_curve_repo/", "multipower_law/"),
    "mcleish7/gemstone-scaling-laws": ("wandb_dfs/", "gemstones/"),
    "hadasah/scaling_laws": ("data/", "misfitting/"),
}
# The downloader leaves the connection of a failed answer to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
NEEDS = {"batch_size": 2**19, "learning_rate": 3e-4}


@pytest.fixture(scope="module")
def shared():
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "README.md").is_file():
            return parent / "shared" / "data"
    pytest.skip("the shared folder with the original files, shared/data beside the checkout, is not there")


class Server(ThreadingHTTPServer):
    """Serves the shared folder as the public host does, counts requests, and misbehaves on request."""

    daemon_threads = True

    def __init__(self, shared):
        self.shared, self.asked, self.fault = shared, [], None
        super().__init__(("127.0.0.1", 0), Handler)

    def file(self, path):
        owner, name, commit, rest = unquote(path).lstrip("/").split("/", 3)
        found = next(entry for entry in PUBLIC_SETS.values() if entry.repository == f"{owner}/{name}")
        assert commit == found.commit
        upstream, here = FOLDERS[found.repository]
        return self.shared / rest.replace(upstream, here, 1)


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.file(self.path).read_bytes()
        if self.server.fault == "missing":
            return self.send_error(404)
        if self.server.fault == "altered":
            content = content[:-2] + b"9\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.fault == "dies":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(shared, tmp_path, monkeypatch):
    server = Server(shared)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(catalogue, "RAW_FILES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("SCALINGEQ_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two tries
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    gc.collect()


@pytest.fixture
def cached(tmp_path):
    return lambda: sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_hashes_are_those_of_the_original_files(shared):
    for found in PUBLIC_SETS.values():
        upstream, here = FOLDERS[found.repository]
        for path, digest in found.files.items():
            file = shared / path.replace(upstream, here, 1)
            assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, path


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_every_public_set_opens_to_the_schema(server, name):
    ds = data.fetch(name)
    lacking = {role: value for role, value in NEEDS.items() if role not in ds}
    assert set(lacking) == {role for role in NEEDS if role in PUBLIC_SETS[name].passes}
    if name.startswith("misfitting"):
        lacking["learning_rate"] = "peak_lr"
    ds = data.check(data.fetch(name, **lacking))
    assert all(v.attrs.get("units") and v.attrs.get("long_name") for v in ds.variables.values())
    assert ds.loss.units == "nats per token"
    assert ds.attrs["source"] == PUBLIC_SETS[name].source
    assert ds.attrs["license"]
    assert "arXiv:" in ds.attrs["references"]
    assert "fetched " in ds.attrs["history"]
    assert data.to_curves(ds).loss.size > 190


def test_what_the_cards_say_of_the_sets(server):
    chinchilla = data.fetch("chinchilla")
    assert chinchilla.sizes == {"run": 245}
    first = 9.993852799709755e18 / (6 * 6795600349.289497)
    assert float(chinchilla.tokens[0]) == pytest.approx(first, rel=1e-12)
    power = data.fetch("multipower-law")
    assert power.sizes["run"] == 18
    assert power.run.values[-1] == "100M wsdld_20000_24000"
    assert set(power.params.values) == {25e6, 100e6}
    gems = data.fetch("gemstones")
    assert (gems.sizes["run"], gems.sizes["obs"]) == (22, 770)
    assert (gems.batch_size == 4_194_304).all()
    assert data.fetch("gemstones-cooldown").sizes == {"run": 199}
    assert data.fetch("misfitting-final").sizes == {"run": 261}
    mis = data.fetch("misfitting")
    assert (mis.batch_size == 2**20).all()
    assert mis.attrs["counting"] == "total"
    assert "rows whose step contradicts their epoch" in mis.attrs["history"]
    assert np.unique(mis.params).size == 11


def test_a_second_call_needs_no_network(server, cached):
    once = data.fetch("multipower-law")
    assert len(server.asked) == 18 == len(cached())
    server.shutdown()
    server.server_close()
    again = data.fetch("multipower-law")
    assert len(server.asked) == 18
    np.testing.assert_array_equal(once.loss, again.loss)


def test_a_damaged_cache_is_mended(server, cached):
    data.fetch("gemstones")
    (file,) = cached()
    assert file.name == "wandb_df_for_fitting_hot_100b+.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    data.fetch("gemstones")
    assert file.read_bytes() == whole
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("altered", "is not the file of the catalogue .* nothing of it is kept"),
        ("dies", "could not be downloaded from"),
        ("missing", "could not be downloaded from .*404"),
    ],
)
def test_faults_leave_nothing_behind(server, cached, fault, message):
    server.fault = fault
    with pytest.raises(ArchiveError, match=message) as caught:
        data.fetch("chinchilla")
    assert len(caught.value.problems) == 1
    assert cached() == []
    assert len(server.asked) == 2  # one more try, and no more
    server.fault = None
    assert data.fetch("chinchilla").sizes["run"] == 245


def test_offline_without_a_cache_is_one_clear_error(server, cached, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(ArchiveError, match=r"chinchilla: data/svg_extracted_data.csv is not in the cache") as caught:
        data.fetch("chinchilla")
    text = str(caught.value)
    assert str(tmp_path / "cache") in text
    assert "SCALINGEQ_DATA_DIR" in text
    assert cached() == []


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ArchiveError, match="could not be downloaded"):
        data.fetch("chinchilla")


def test_downloads_are_quiet_unless_asked(server, capfd):
    data.fetch("chinchilla")
    assert capfd.readouterr() == ("", "")
    for path in Path(catalogue.os.environ["SCALINGEQ_DATA_DIR"]).rglob("*.csv"):
        path.unlink()
    data.fetch("chinchilla", progress=True)
    assert "100%" in capfd.readouterr().err


def test_names():
    table = data.list()
    assert set(table.index) == {"stdlib-lm", *PUBLIC_SETS}
    assert table.notna().all(axis=None)
    with pytest.raises(DataError, match=r"'stdlib-lm' comes with the package: load\('stdlib-lm'\)"):
        data.fetch("stdlib-lm")
    with pytest.raises(DataError, match=r"'gemstones' is public: fetch\('gemstones'\)"):
        data.load("gemstones")


def test_no_set_needs_code_to_be_read():
    for found in PUBLIC_SETS.values():
        assert all(path.endswith((".csv", ".jsonl")) for path in found.files)
        assert len(found.commit) == 40

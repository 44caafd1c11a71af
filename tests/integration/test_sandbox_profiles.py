"""Each language on its real image: an ordinary program there, with the same walls and verdicts (CONTRACT 4)."""

import pytest

from orchestrator.sandbox import images, profiles
from tests.attack.rig import COLD, IMAGES, opened

pytestmark = pytest.mark.engine
MIB = 2**20


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    for profile in profiles.load(IMAGES):
        images.build(COLD, IMAGES, profile, lambda _: None)
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def box(state):
    async with opened(state) as box:
        yield box


JAVASCRIPT = {
    "args, environment and input": {
        "code": "console.log(process.argv.slice(1).join(), process.env.A, require('fs').readFileSync(0, 'utf8'))",
        "args": ["a b", "--c"], "env": {"A": "1"}, "stdin": "in", "says": "/program/main.js,a b,--c 1 in\n",
    },
    "its working directory": {
        "code": "const fs = require('fs'); fs.writeFileSync('out', 'x')\nconsole.log(process.cwd(), fs.readdirSync('.').join(), __filename, require('os').tmpdir())",
        "files": {"in/put.txt": "x"}, "says": "/box/work in,out /program/main.js /tmp\n",
    },
    "files that came with it": {
        "code": "console.log(require('./lib/a'), require('./data.json').b, require('pk'), require.main === module)",
        "files": {"lib/a.js": "module.exports = 1 + require('../b.js')", "b.js": "module.exports = 1", "data.json": '{"b": 3}', "node_modules/pk/index.js": "module.exports = 4"},
        "says": "2 3 4 true\n",
    },
    "written as a module": {
        "code": "import fs from 'node:fs'\nimport { a } from './a.mjs'\nimport b from './b.js'\nconsole.log(a, b, typeof fs.readFileSync, await Promise.resolve(3), import.meta.url)",
        "files": {"a.mjs": "export const a = 1", "b.js": "module.exports = 2"}, "says": "1 2 function 3 file:///program/main.js\n",
    },
    "an import on the way": {
        "code": "import('./a.mjs').then(m => console.log(m.default, require('./b')))",
        "files": {"a.mjs": "export default 1", "b.js": "module.exports = 2"}, "says": "1 2\n",
    },
    "words of modules in a script": {"code": "const text = 'import x from y; export await'\nconsole.log(text.length, typeof require)", "says": "29 function\n"},
    "threads, processes, compilers, a server of its own": {
        "code": "const { Worker } = require('worker_threads'), { execFileSync } = require('child_process'), http = require('http')\n"
        "const thread = new Promise(done => new Worker('require(\"worker_threads\").parentPort.postMessage(42)', { eval: true }).on('message', done))\n"
        "const served = new Promise(done => { const s = http.createServer((_, r) => r.end('ok')).listen(0, '127.0.0.1', () =>\n"
        "  http.get({ port: s.address().port }, r => r.on('data', d => { done(String(d)); s.close() }))) })\n"
        "const wasm = WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))\n"
        "Promise.all([thread, served, wasm]).then(([a, b]) => console.log(a, b, String(execFileSync('/bin/echo', ['sub'])),\n"
        "  new Intl.NumberFormat('de').format(1234.5), new Date(0).toLocaleTimeString('de', { timeZone: 'Europe/Berlin' })))",
        "says": "42 ok sub\n 1.234,5 01:00:00\n",
    },
}  # fmt: skip
SHELL = {
    "args, environment and input": {
        "code": "echo \"$0 $# $1 $A $(cat)\"", "args": ["a b", "--c"], "env": {"A": "1"}, "stdin": "in", "says": "/program/main.sh 2 a b 1 in\n",
    },
    "its working directory": {"code": ". ./lib.sh; echo x > out; pwd; ls; echo ~", "files": {"lib.sh": "echo lib"}, "says": "lib\n/box/work\nlib.sh\nout\n/box/work\n"},
    "bash": {"code": "a=(1 2 3); echo ${#a[@]} $((2**10)) ${BASH_VERSINFO[0]}; diff <(echo a) <(echo b) | head -1; [[ abc =~ b ]] && echo yes", "says": "3 1024 5\n1c1\nyes\n"},
    "a pipe that ends early": {"code": "set -o pipefail; seq 100000 | head -1; echo $?; trap", "says": "1\n141\n"},
    "the usual commands": {
        "code": "set -e\nprintf 'b 2\\na 1\\n' | sort | awk '{ s += $2; print $1 } END { print s }'\necho '{\"a\": [1, 2]}' | jq -c .a\necho '2^70' | bc\n"
        "find . -name '*.txt' -print0 | xargs -0 grep -l needle | sed 's/^/found /'\ntar czf - a.txt | tar tzf -\nzip -q z.zip a.txt; unzip -l z.zip | grep -c a.txt\n"
        "echo text | gzip | xxd -l 2 -p; printf x | sha256sum | cut -c1-8; echo a,b | column -ts, ; perl -e 'print 6*7, \"\\n\"'; ps -o comm= -p $$; which awk",
        "files": {"a.txt": "needle\n", "b.txt": "hay\n"},
        "says": "a\nb\n3\n[1,2]\n1180591620717411303424\nfound ./a.txt\na.txt\n1\n1f8b\n2d711642\na  b\n42\nbash\n/usr/bin/awk\n",
    },
    "bytes and a here-document": {"code": "cat <<E\n$((1 + 1)) \u20ac\nE\nhead -c 3 /dev/zero | wc -c", "says": "2 \u20ac\n3\n"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "case"),
    [pytest.param("javascript", c, id=f"javascript: {n}") for n, c in JAVASCRIPT.items()] + [pytest.param("shell", c, id=f"shell: {n}") for n, c in SHELL.items()],
)  # fmt: skip
async def test_a_program_finds_what_it_expects(box, language, case):
    """CONTRACT 4: an ordinary script; its files beside it, its arguments, its input."""
    asked = dict(case)
    says = asked.pop("says")
    outcome = await box.run(language=language, **asked)
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", says, ""), outcome.reason
    assert (outcome.language, outcome.profile) == (language, language)
    assert outcome.sandbox.image.startswith(f"orchestrator-sandbox/{language}@sha256:")


ENDS = {
    "ok": ("process.exitCode = 0", "true"),
    "exit 3": ("process.exit(3)", "exit 3"),
    "exit 137 of its own": ("process.exit(137)", "exit 137"),
    "a fault": ("throw new Error('x')", "set -e; false; echo never"),
    "a program that cannot be read": ("let x = ;", "if then"),
    "a signal": ("process.kill(process.pid, 'SIGSEGV')", "kill -SEGV $$"),
    "wall": ("setTimeout(() => {}, 60_000)", "sleep 60"),
    "cpu": ("for (;;) ;", "while :; do :; done"),
    "memory": ("const a = []; for (;;) a.push(Buffer.alloc(1e6, 1))", "x=x; while :; do x=$x$x; done"),
    "flood": ("const b = 'x'.repeat(1e6); const go = () => process.stdout.write(b, go); go()", "yes"),
    "disk": ("require('fs').writeFileSync('x', Buffer.alloc(3e7))", "head -c 30000000 /dev/zero > x"),
}  # fmt: skip
VERDICTS = {
    "ok": ("ok", 0, None, []), "exit 3": ("error", 3, None, []), "exit 137 of its own": ("error", 137, None, []),
    "a fault": ("error", 1, None, []), "a signal": ("signal", None, "SIGSEGV", []),
    "wall": ("timeout", None, None, ["wall_ms"]), "cpu": ("timeout", None, None, ["cpu_ms"]),
    "memory": ("oom", None, None, ["memory_bytes"]), "flood": ("output_limit", None, None, ["stdout_bytes"]),
    "disk": ("error", 1, None, ["disk_bytes"]),
}  # fmt: skip
TIGHTER = {
    "wall": {"wall_ms": 500},
    "cpu": {"cpu_ms": 400},
    "disk": {"disk_bytes": 4 * MIB},
    "memory": {"memory_bytes": 96 * MIB},
}


@pytest.mark.parametrize("language", ["javascript", "shell"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_program_ends_with_the_same_verdicts_in_every_language(box, language, end):
    """CONTRACT 4: the verdicts are the kernel's and the runner's evidence, whatever the language."""
    code = ENDS[end][language == "shell"]
    outcome = await box.run(code, language=language, limits=TIGHTER.get(end))
    told = (outcome.status, outcome.exit_code, outcome.signal, outcome.limits_hit)
    wanted = VERDICTS.get(end) or ("error", 1 if language == "javascript" else 2, None, [])
    assert told == wanted, (outcome.reason, outcome.stderr[-500:])


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("javascript", "const { spawnSync } = require('child_process'); let n = 0; const all = []\nfor (; n < 99; n++) { const c = require('child_process').spawn('sleep', ['60']); c.on('error', () => {}); all.push(c); if (!c.pid) break }\nconsole.log(n < 60); process.exit(0)"),
        ("shell", "for i in $(seq 99); do sleep 60 & done 2> /dev/null; echo true"),
    ],
)  # fmt: skip
async def test_processes_are_bounded_and_none_is_left(box, language, code):
    """CONTRACT 4: pids, and no process of a job outlives its answer; `opened` looks for them."""
    outcome = await box.run(code, language=language, limits={"pids": 40, "wall_ms": 5_000})
    assert "pids" in outcome.limits_hit, (outcome.reason, outcome.stderr[-300:])


@pytest.mark.parametrize(
    ("language", "code", "says"),
    [
        ("javascript", "const d = require('dns'), n = require('net'); n.connect(80, '192.0.2.1').on('error', e => console.log(e.code)); console.log(process.getuid() > 0)", "true\nENETUNREACH\n"),
        ("shell", "(echo > /dev/tcp/192.0.2.1/80) 2> /dev/null || echo none; touch /usr/x /program/x 2> /dev/null || echo read-only; (( UID )) && id -G | wc -w", "none\nread-only\n1\n"),
        ("shell", "find / -xdev -perm /6000 -type f 2> /dev/null | wc -l; ls /sys/class/net; grep -c . /proc/net/tcp; grep NoNewPrivs /proc/self/status | tr -d '\\t'", "0\nlo\n1\nNoNewPrivs:1\n"),
    ],
)  # fmt: skip
async def test_the_walls_are_the_same(box, language, code, says):
    """CONTRACT 4 "Always": no network, read-only root, no set-uid file in an image."""
    outcome = await box.run(code, language=language)
    assert (outcome.status, outcome.stdout) == ("ok", says), (outcome.reason, outcome.stderr)


@pytest.mark.parametrize("language", ["javascript", "shell"])
async def test_artifacts_and_cells_serve_every_language(box, language):
    """CONTRACT 4: `artifacts`, `cases` and `cell` are not Python's alone; a cell shows nothing of the job before."""
    code = {
        "javascript": "const fs = require('fs'); console.log(fs.readdirSync('.').length); fs.writeFileSync('a.txt', process.argv[2])",
        "shell": 'ls | wc -l; printf %s "$1" > a.txt',
    }[language]
    for text in ("one", "two"):
        outcome = await box.run(code, language=language, isolation="cell", args=[text], artifacts=["*.txt"])
        assert (outcome.status, outcome.stdout) == ("ok", "0\n"), outcome.stderr
        assert outcome.artifacts["a.txt"].bytes == 3
    cases = [{"args": [text], "expected_stdout": "0\n"} for text in ("x", "y", "z")]
    outcome = await box.run(code, language=language, cases=cases)
    assert (outcome.passed, len(outcome.cases)) == (True, 3), outcome.reason


SCIENCE = {
    "numpy": "import numpy as np; a = np.random.default_rng(1).random((300, 300)); assert np.allclose(np.linalg.inv(a) @ a, np.eye(300), atol=1e-6)",
    "pandas": "import io, pandas as pd; d = pd.read_csv(io.StringIO('a,b\\nx,1\\nx,2\\ny,3')); assert d.groupby('a').b.sum().to_dict() == {'x': 3, 'y': 3}",
    "scipy": "from scipy import optimize, stats, integrate, sparse; assert abs(optimize.brentq(lambda x: x * x - 2, 0, 2) - 2 ** .5) < 1e-9; assert abs(integrate.quad(lambda x: x, 0, 1)[0] - .5) < 1e-9; stats.ttest_ind([1, 2, 3], [2, 3, 4])",
    "sklearn": "from sklearn.datasets import load_iris; from sklearn.ensemble import RandomForestClassifier as F; x, y = load_iris(return_X_y=True); assert F(20, random_state=0).fit(x, y).score(x, y) > .95",
    "openpyxl": "import openpyxl, pandas as pd; pd.DataFrame({'a': [1, 2]}).to_excel('x.xlsx', index=False); assert [c.value for c in openpyxl.load_workbook('x.xlsx').active['A']] == ['a', 1, 2]; assert pd.read_excel('x.xlsx').a.sum() == 3",
    "pillow": "from PIL import Image, ImageDraw, ImageFont; i = Image.new('RGB', (40, 30)); ImageDraw.Draw(i).text((1, 1), 'hi', font=ImageFont.truetype('DejaVuSans.ttf', 12))\nfor f in ('png', 'jpg', 'gif', 'webp', 'tiff', 'bmp'): i.save('x.' + f); assert Image.open('x.' + f).size == (40, 30)",
    "sympy": "import sympy; x = sympy.Symbol('x'); assert sympy.integrate(2 * x, x) == x ** 2; assert sympy.solve(x ** 2 - 4) == [-2, 2]; sympy.integrate(sympy.sin(x) * sympy.exp(x), x)",
    "lxml": "import io, pandas as pd; assert pd.read_html(io.StringIO('<table><tr><th>a</th></tr><tr><td>1</td></tr></table>'))[0].a[0] == 1",
    "several processors' worth": "from joblib import Parallel, delayed; assert Parallel(2)(delayed(abs)(-i) for i in range(4)) == [0, 1, 2, 3]",
}  # fmt: skip


@pytest.mark.parametrize("code", SCIENCE.values(), ids=SCIENCE)
async def test_science_computes(box, code):
    """The issue's words: numpy, pandas, scipy, matplotlib, scikit-learn, openpyxl, pillow."""
    outcome = await box.run(code, profile="science")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "", ""), outcome.reason


async def test_science_draws_without_a_word_and_without_a_trace(box):
    """The list of fonts comes with the image: no warning, no cache in the working directory, no wait."""
    code = "import matplotlib.pyplot as p, os, matplotlib\np.plot([1, 2, 3]); p.title('$x^2$ \u00e4'); p.savefig('a.png'); p.savefig('b.svg'); p.savefig('c.pdf')\nprint(sorted(os.listdir()), os.path.exists(matplotlib.get_configdir() + '/fontlist-v330.json'))"
    outcome = await box.run(code, profile="science", artifacts=["*.png"])
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "['a.png', 'b.svg', 'c.pdf'] False\n", "")
    assert outcome.artifacts["a.png"].bytes > 5_000


async def test_every_module_of_a_manifest_is_there_and_nothing_of_the_standard_library_is_missing(box):
    """What a hint promises holds."""
    for name, profile in profiles.load(IMAGES).items():
        if profile.manifest.language == "python":
            tried = [
                *profile.manifest.modules,
                "ssl",
                "sqlite3",
                "lzma",
                "decimal",
                "zoneinfo",
                "multiprocessing.synchronize",
            ]
            outcome = await box.run(
                f"import importlib\nfor name in {tried}: importlib.import_module(name)", profile=name
            )
            assert (outcome.status, outcome.stderr) == ("ok", ""), outcome.reason


async def test_a_missing_module_is_hinted_at_and_found_there(box):
    code = "import numpy\nprint(numpy.arange(3).sum())"
    missed = await box.run(code)
    assert (missed.status, missed.hint.module, missed.hint.profile) == ("error", "numpy", "science")
    assert missed.reason.endswith("The profile science has the module numpy.")
    served = await box.run(code, profile=missed.hint.profile)
    assert (served.status, served.stdout, served.hint, served.profile) == ("ok", "3\n", None, "science")


async def test_the_profiles_are_listed_over_http(client):
    """CONTRACT 1: language, package versions, default and maximum limits, image id, kernel boundary."""
    answer = await client.get("/v1/sandbox/profiles")
    assert (answer.status, answer.json["next"]) == (200, None)
    listed = {item["name"]: item for item in answer.json["items"]}
    assert {"default", "javascript", "science", "shell"} <= set(listed)
    shell = listed["shell"]
    assert (shell["language"], shell["available"], shell["kernel_boundary"], shell["sessions"]) == (
        "shell",
        True,
        "shared",
        False,
    )
    assert shell["image"].startswith("orchestrator-sandbox/shell@sha256:")
    assert shell["packages"]["bash"][0].isdigit()
    assert shell["default"]["memory_bytes"] == 128 * MIB
    assert shell["maximum"]["wall_ms"] == 60_000
    assert "numpy" in listed["science"]["modules"]
    first = await client.get("/v1/sandbox/profiles?limit=1")
    assert [item["name"] for item in first.json["items"]] == [first.json["next"]] == ["default"]


async def test_a_language_alone_chooses_its_profile_over_http(admin):
    """CONTRACT 4: code of another language is 422, and told with those that there are."""
    answer = await admin.post("/v1/sandbox/executions", json={"code": "echo $((6 * 7))", "language": "shell"})
    assert (answer.status, answer.json["stdout"], answer.json["profile"]) == (200, "42\n", "shell")
    again = await admin.get(f"/v1/sandbox/executions/{answer.json['id']}")
    assert (again.json["language"], again.json["profile"]) == ("shell", "shell")
    for asked, loc in (
        ({"language": "cobol"}, "language"),
        ({"language": "javascript", "profile": "default"}, "language"),
        ({"profile": "x"}, "profile"),
    ):
        refused = await admin.post("/v1/sandbox/executions", json={"code": "", **asked})
        assert (refused.status, refused.json["errors"][0]["loc"]) == (422, [loc])

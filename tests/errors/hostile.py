"""Run by ``test_hostile.py`` in a process of its own: every hostile text, with Python's audit hook listening.

Prints one JSON object: per text the exception's class (or ``"accepted"``), its message, the seconds, and what was
opened, run, imported or contacted meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

EVIL = "__import__('os').system('touch CANARY')"

FORMULAS = [
    # code
    f"y ~ {EVIL}",
    f"y ~ I({EVIL})",
    f"y ~ {{{EVIL}}}",
    f"y ~ log({EVIL})",
    f"y ~ C({EVIL})",
    f"y ~ offset({EVIL})",
    f"y ~ x + (1 | {EVIL})",
    f"y ~ x + ({EVIL} | g)",
    f"{EVIL} ~ x",
    f"p({EVIL}, t) ~ x",
    f"y ~ `{EVIL}`",
    f"y ~ '{EVIL}'",
    f'y ~ x + "{EVIL}"',
    f"y ~ bs(x, df={EVIL})",
    f"y ~ C(g, contrasts={EVIL})",
    f"y ~ C(g, levels=[{EVIL}])",
    f"y ~ poly(x, {EVIL})",
    "y ~ __import__('os')",
    "y ~ eval('1')",
    "y ~ exec('import os')",
    "y ~ compile('1', 'a', 'eval')",
    "y ~ open('SECRET').read()",
    "y ~ I(open('SECRET'))",
    "y ~ np.loadtxt('SECRET')",
    "y ~ np.log(x)",
    "y ~ pd.read_csv('http://127.0.0.1:9/x.csv')",
    "y ~ pandas.read_pickle('SECRET')",
    "y ~ os.system('touch CANARY')",
    "y ~ subprocess.run('touch CANARY')",
    "y ~ socket.create_connection(('127.0.0.1', 9))",
    "y ~ globals()",
    "y ~ locals()['x']",
    "y ~ vars(x)",
    "y ~ getattr(x, '__class__')",
    "y ~ setattr(x, 'a', 1)",
    "y ~ breakpoint()",
    "y ~ input()",
    "y ~ print(x)",
    "y ~ help()",
    "y ~ exit()",
    "y ~ quit()",
    "y ~ type(x)",
    "y ~ __builtins__",
    "y ~ __name__",
    "y ~ __debug__",
    # attributes and subscripts
    "y ~ x.__class__",
    "y ~ x.__class__.__mro__[1].__subclasses__()",
    "y ~ ().__class__.__bases__[0].__subclasses__()",
    "y ~ ''.__class__",
    "y ~ (1).__class__",
    "y ~ log.__globals__",
    "y ~ log.__globals__['os']",
    "y ~ I.__init__",
    "y ~ x.values",
    "y ~ x.to_csv('CANARY')",
    "y ~ x.tofile('CANARY')",
    "y ~ x.dump('CANARY')",
    "y ~ g.str.len()",
    "y ~ x[0]",
    "y ~ x['a']",
    "y ~ x[::2]",
    "y ~ (1 | g.__class__)",
    "y ~ (1 | g['a'])",
    # syntax of Python that is not of formulas
    "y ~ (lambda: 0)()",
    "y ~ I((lambda: 0)())",
    "y ~ I([i for i in x])",
    "y ~ I({i for i in x})",
    "y ~ I((i for i in x))",
    "y ~ I(x if x else x)",
    "y ~ I(z := x)",
    "y ~ I(x and x)",
    "y ~ I(not x)",
    "y ~ I(x in x)",
    "y ~ I(x is x)",
    "y ~ I(*x)",
    "y ~ log(*x)",
    "y ~ log(**x)",
    "y ~ log(x, out=x)",
    "y ~ log(x, where=x)",
    "y ~ exp(x, dtype='O')",
    "y ~ scale(x, nothing=1)",
    "y ~ bs(x, extrapolation='__import__')",
    "y ~ I(f'{x}')",
    "y ~ I(b'a')",
    "y ~ I(x); import os",
    "y ~ x; import os",
    "y ~ x\nimport os",
    "y ~ x\\\nimport os",
    "y ~ x # comment",
    "y ~ await x",
    "y ~ yield x",
    "y ~ I(yield)",
    "y ~ @x",
    "y ~ x <- 3",
    "y ~ !x",
    "y ~ %x",
    "y ~ $(touch CANARY)",
    "y ~ `touch CANARY`",
    "y ~ | touch CANARY",
    "y ~ x && touch CANARY",
    "y ~ ${HOME}",
    "y ~ ../../etc/passwd",
    "y ~ /etc/passwd",
    "y ~ file:///etc/passwd",
    # look-alikes
    "y ~ ｅｖａｌ('1')",
    "y ~ __ｉｍｐｏｒｔ__('os')",
    "y ~ x\u200b",
    "y ~ x\u202e",
    "y ~ x\ufeff",
    "y ~ x\x00",
    "y ~ \ud800",
    "y ~ x\x1b[2J",
    # monsters
    "y ~ " + "(" * 100_000 + "x" + ")" * 100_000,
    "y ~ " + "(" * 100_000,
    "y ~ " + ")" * 100_000,
    "y ~ " + "log(" * 5_000 + "x" + ")" * 5_000,
    "y ~ " + "-" * 100_000 + "x",
    "y ~ " + "+" * 100_000 + "x",
    "y ~ I(" + "-" * 100_000 + "x)",
    "y ~ I(" + "x+" * 50_000 + "x)",
    "y ~ I(" + "x**" * 5_000 + "x)",
    "y ~ " + " + ".join(f"x{i}" for i in range(50_000)),
    "y ~ " + "x + " * 50_000 + "x",
    "y ~ " + "x:" * 10_000 + "x",
    "y ~ " + "x*" * 40 + "x",
    "y ~ " + "*".join(f"x{i}" for i in range(40)),
    "y ~ (" + "+".join(f"x{i}" for i in range(60)) + ")**30",
    "y ~ (" + "+".join(f"x{i}" for i in range(60)) + "):(" + "+".join(f"z{i}" for i in range(60)) + ")" * 1,
    "y ~ (x + r)**999999999",
    "y ~ (x + r)**999999999999999999999999999",
    "y ~ x**1e308",
    "y ~ I(9**9**9**9)",
    "y ~ I(9**9**9**9 * x)",
    "y ~ I(x**9**9**9)",
    "y ~ I(1e999 * x)",
    "y ~ I(10**400 * x)",
    "y ~ I(x / 0)",
    "y ~ I(0/0)",
    "y ~ I('a' * 999999999)",
    "y ~ I('a' * 10**9)",
    "y ~ I(x << 10**9)",
    "y ~ poly(x, 100000000)",
    "y ~ poly(x, -1)",
    "y ~ bs(x, df=1000000000)",
    "y ~ bs(x, degree=1000000)",
    "y ~ cr(x, df=1000000000)",
    "y ~ " + "9" * 100_000,
    "y ~ " + "a" * 1_000_000,
    "y ~ '" + "a" * 1_000_000,
    "y ~ `" + "a" * 1_000_000 + "`",
    "~" * 100_000,
    "|" * 100_000,
    "y ~ (1 " + "| g" * 20_000 + ")",
    "y ~ (1 | " + "g/" * 2_000 + "g)",
    "y ~ (1 | " + "g:" * 2_000 + "g)",
    "y ~ " + "(1 | g) + " * 5_000 + "x",
    "y ~ (" + "+".join(f"x{i}" for i in range(2000)) + " | g)",
    " " * 1_000_000,
    "\n" * 1_000_000,
]

# Other texts a model file can hold: where they go, and what.
ARGUMENTS = [
    {"weights": EVIL},
    {"offset": EVIL},
    {"exposure": "SECRET"},
    {"family": EVIL},
    {"family": "os"},
    {"family": "base"},
    {"family": "../families/base"},
    {"family": "__class__"},
    {"family": "Prior"},
    {"family": "poisson\x00"},
    {"family": "a" * 1_000_000},
    {"link": EVIL},
    {"link": "power(" + EVIL + ")"},
    {"link": "power(9**9**9**9)"},
    {"link": "power(nan)"},
    {"link": "power(inf)"},
    {"link": "power(" + "(" * 10_000 + ")"},
    {"link": "__class__"},
    {"link": "a" * 1_000_000},
    {"priors": EVIL},
    {"priors": {EVIL: "flat"}},
    {"covariance": {EVIL: "diagonal"}},
    {"covariance": {"g": EVIL}},
    {"covariance": {"g": "__class__"}},
]

# Parsing the text "1" is no harm (formulaic does it): to run something takes an exec.
LISTEN = (
    "open",
    "exec",
    "import",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "urllib.",
    "pty.",
    "ftplib.",
    "smtplib.",
    "http.",
    "pickle.",
    "marshal.",
    "webbrowser.",
    "sqlite3.",
    "builtins.input",
    "builtins.breakpoint",
    "code.",
)


def main(folder: str) -> None:
    import numpy as np
    import pandas as pd

    import bayesglmm as bg

    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "y": rng.poisson(3.0, 24),
            "x": rng.normal(size=24),
            "r": rng.normal(size=24),
            "t": np.full(24, 20),
            "g": np.repeat(list("abcdef"), 4),
        }
    )
    heard: list[str] = []
    listening = False

    def hook(event: str, args: tuple[object, ...]) -> None:
        if listening and event.startswith(LISTEN):
            heard.append(f"{event} {str(args)[:200]}")

    def attempt(formula: str, **arguments: object) -> dict[str, object]:
        nonlocal listening
        heard.clear()
        start = time.process_time()
        listening = True
        try:
            bg.Model(formula, data, **{"family": "poisson", **arguments})
            outcome, message = "accepted", ""
        except BaseException as error:  # whatever comes is reported
            outcome = type(error).__name__ if isinstance(error, bg.BayesGLMMError) else f"LEAK {type(error).__name__}"
            message = str(error)
        finally:
            listening = False
        seconds = time.process_time() - start
        return {"outcome": outcome, "message": message[:2000], "seconds": seconds, "heard": list(heard)}

    sys.addaudithook(hook)
    warnings.simplefilter("ignore")
    secret = str(Path(folder, "secret.csv"))
    for warm in ("y ~ x + C(g) + bs(x, df=4) + poly(x, 2) + scale(r) + (1 | g)", "y ~ log(t) + nothing", "y ~ ("):
        attempt(warm)
    attempt("y ~ x", family="nothing")
    attempt("y ~ x", link="nothing")
    attempt("y ~ x", priors="flat", weights="t")
    attempt("y ~ x", priors={"x": bg.Prior("Normal", mu=0, sigma=1)})
    out = {
        "formulas": [attempt(f.replace("SECRET", secret)) for f in FORMULAS],
        "arguments": [attempt("y ~ x + (1 | g)", **a) for a in ARGUMENTS],
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])

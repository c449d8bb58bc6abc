"""``python -m bayesglmm``: the command line."""

from bayesglmm.cli import app

if __name__ == "__main__":
    app(prog_name="bayesglmm")

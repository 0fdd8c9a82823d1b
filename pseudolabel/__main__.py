"""Run `python -m pseudolabel VERB`."""

from pseudolabel.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

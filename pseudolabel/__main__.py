"""Run `python -m pseudolabel VERB`."""

from pseudolabel.cli import main

raise SystemExit(main())

"""The report: every measurement of a chain as tables, curves, sample grids and one page.

`write_report` makes the whole of `reports/` from the files that evaluation left.
"""

from pdpipe.reporting.headline import Headline
from pdpipe.reporting.report import write_report

__all__ = ["Headline", "write_report"]

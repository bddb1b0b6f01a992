"""An evaluation as one page that opens from disk: `write_report`."""

from deeplense.report.build import reporting, write_report

__all__ = ["reporting", "write_report"]

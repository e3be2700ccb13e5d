"""Figures and HTML reports; the only place that knows Matplotlib and HTML."""

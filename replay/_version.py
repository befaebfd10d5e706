"""The one place where the version stands; setup.cfg and results read it from here."""

__version__ = "0.1.0"

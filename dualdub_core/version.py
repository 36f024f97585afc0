"""The version that files, reports and the package name."""

VERSION = "0.1.0"

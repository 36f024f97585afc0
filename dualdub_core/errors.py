"""The errors a user can cause: one line each, saying what, what came, what was expected, what to do."""


class DualDubError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(DualDubError, ValueError):
    """A configuration contradicts itself or has unknown keys."""


class CheckpointError(DualDubError, ValueError):
    """A weights file is missing, damaged, hostile or of another kind."""


class InputError(DualDubError, ValueError):
    """A video, script, voice, recording or setting cannot be used as given."""

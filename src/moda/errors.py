"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Input or a setting is wrong. The message says what, where, and what to do.

    The command line prints it as one line and exits with status 1; a programming error keeps its
    traceback.
    """

"""The one exception that users are meant to read."""


class UserError(Exception):
    """Bad input: the message says what was found, where, and what to do.

    The command line prints it as one paragraph, without a traceback, and exits with 1.
    """

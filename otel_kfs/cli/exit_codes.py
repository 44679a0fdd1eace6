"""The exit codes that every command may end with, besides 0, 1 and click's own 2."""

SIGINT_EXIT = 130  # what a shell reports for a program that Ctrl-C ended
SIGTERM_EXIT = 143  # and SIGTERM
SIGPIPE_EXIT = 141  # and one that wrote to a pipe without a reader, such as `cat`

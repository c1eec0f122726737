"""The command `turnout`: each file is one family of commands that parses, calls and prints."""

"""The folder is the list: each module declares endpoints of one subject with `@endpoint`."""

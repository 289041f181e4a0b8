"""The sandbox: untrusted bytes are parsed in a child process without rights."""

"""What keeps a process that reads untrusted bytes from reaching anything else; Linux only, by ctypes."""

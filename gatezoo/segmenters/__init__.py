"""The network classes that users hold."""

"""The processes of one service on one host: they share a folder, one of them holds the port, each shows the whole."""

"""How fast the server is, and how its cost grows: `make bench` prints the tables of docs/benchmark.md."""

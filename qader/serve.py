"""The entry point of the server: `python -m qader.serve`, in development, in production and in tests."""

from qader.server.main import main

if __name__ == "__main__":
    main()

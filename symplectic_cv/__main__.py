"""`python -m symplectic_cv` is the same as `symplectic-cv`."""

from symplectic_cv.cli.main import main

if __name__ == "__main__":
    main()

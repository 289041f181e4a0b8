"""Cases: finding them in sources, loading their files, and checks that the files fit each other."""

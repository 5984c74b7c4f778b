from reasonflow.cli.main import main

main()

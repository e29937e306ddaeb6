def test_try(fetch, tmp_path, catalog):
    print(fetch("--dry-run"))
    print(*fetch())
    print((tmp_path / "data/scenes.csv").read_text())
    print(catalog.most_at_once, len(catalog.asked))
    assert 0

from lbadvisor.records.bounded import Bounded


def test_an_estimate_of_a_falling_function_turns_its_interval_around() -> None:
    assert Bounded(2, 1, 4).mapped(lambda number: 1 / number) == Bounded(0.5, 0.25, 1)
    assert Bounded(2, None, None).times(3) == Bounded(6, None, None)


def test_only_an_interval_that_is_known_excludes_a_number() -> None:
    assert Bounded(2, 1, 4).excludes(0.9)
    assert not Bounded(2, 1, 4).excludes(0.9, by=0.1)
    assert not Bounded(2, 1, 4).excludes(4)
    assert not Bounded(2).excludes(0)


def test_the_text_has_the_interval_if_it_is_known() -> None:
    assert Bounded(0.412, 0.38, 0.44).text(".2f") == "0.41 (0.38 to 0.44)"
    assert Bounded(0.412, 0.38, 0.44).text(".2f", "95% ") == "0.41 (95% 0.38 to 0.44)"
    assert Bounded(0.412).text(".2f") == "0.41"

"""Words of the data are no markup, and a table's columns line up."""

from dataset_mmnerd.markdown import code, escaped, listed, longest_backticks, table, text_table


def test_escaping_keeps_a_text_on_one_line():
    assert escaped("a\n# b\t_c_") == r"a # b \_c\_"


def test_code_holds_any_text():
    assert code("a b") == "`a b`"
    assert code("`") == "`` ` ``"
    assert code("a``b|c") == r"```a``b\|c```"
    assert longest_backticks("a ``` b ` c") == 3


def test_names_are_listed_in_a_sentence():
    assert listed(["English", "German", "Dutch"]) == "English, German and Dutch"
    assert listed(["English"]) == "English"
    assert listed([]) == ""


def test_a_table_escapes_words_and_groups_the_digits_of_numbers():
    assert table(["", "a|b"], [["*x*", 1234], ["y", "5"]]).splitlines() == [
        r"|  | a\|b |",
        "|---|---:|",
        r"| \*x\* | 1,234 |",
        "| y | 5 |",
    ]


def test_a_table_of_text_has_a_rule_above_each_block():
    assert text_table(
        ["", "F1"], [[["all", "7.5"]], [["German", "10.0"], ["x", ""]]]
    ).splitlines() == [
        "          F1",
        "------------",
        "all      7.5",
        "------------",
        "German  10.0",
        "x",
    ]

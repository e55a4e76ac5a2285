"""The spec grammar: what it accepts, prints, expands and refuses. The truth is the grammar's text and shells."""

import shutil
import subprocess
import sys
from time import perf_counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from robustreg.errors import UsageError, suggest
from robustreg.spec import LONGEST, NOWHERE, Range, Ratio, Setting, Spec, Term, expand, mark, parse, parse_term

ACCEPTED = {
    "none": "none",
    "dropout:0.5": "dropout:0.5",
    "l1:1e-3+dropout:0.5": "l1:0.001+dropout:0.5",
    "l1:1e-4,1e-3,1e-2": "l1:0.0001,0.001,0.01",
    "shift:2": "shift:2",
    "heavy@l2:1e+3": "heavy@l2:1000",
    "heavy@l2:1e+3+dropout:p=0.1,0.5": "heavy@l2:1000+dropout:p=0.1,0.5",
    "fgsm:eps=8/255": "fgsm:eps=8/255",
    "fgsm:eps=0.50/255": "fgsm:eps=0.5/255",
    "fgsm:eps=1/255..8/255:8": "fgsm:eps=1/255..8/255:8",
    "augment:crop=2,flip=true,mode=wrap": "augment:crop=2,flip=true,mode=wrap",
    "l1:1e-6..1e-1:6": "l1:1e-6..0.1:6",
    "l1:1e-6..1e+20": "l1:1e-6..1e20",
    "acme-tools.mix_up2:-3,+4,.5,5.,0,-0.0": "acme-tools.mix_up2:-3,4,0.5,5,0,0",
    "a:9007199254740991,9007199254740993": "a:9007199254740991,9007199254740992.0",
    "folder:/data/my-images/v1.2/x_y": "folder:/data/my-images/v1.2/x_y",
    "folder:../images": "folder:../images",
    "folder:a/b,./c": "folder:a/b,./c",
    "3b.x-y_@l1:a=1": "3b.x-y_@l1:a=1",
}

# text -> what is marked, and a part of the message
REFUSED = {
    "l1++l2": ("+", "empty term"),
    "l1+": ("+", "empty term"),
    "+l1": ("+", "empty term"),
    "+": ("+", "empty term"),
    "l1:1e-3++l2": ("+", "empty term"),
    "x@": ("", "empty term"),
    "l1:": (":", "no value"),
    "l1:a=": ("=", "no value"),
    "l1:1,": (",", "no value"),
    "l1:,1": (":", "no value"),
    "l1:1,,2": (",", "no value"),
    "l1:=3": ("", "a key is"),
    "l1:2a=3": ("2a", "a key is"),
    "l1:a=1,b=2,a=3": ("a", "twice"),
    "l1+dropout+l1:2": ("l1", "twice"),
    "l1:1e": ("1e", "not a number"),
    "l1:1e-3x": ("1e-3x", "not a number"),
    "l1:0.5.1": ("0.5.1", "not a number"),
    "l1:-x": ("-x", "not a number"),
    "l1:1/": ("", "not a number"),
    "l1:1/x": ("x", "not a number"),
    "l1:1/2/3": ("2/3", "not a number"),
    "l1:1/0": ("1/0", "not a finite"),
    "l1:1e999": ("1e999", "not a finite"),
    "l1:1e999/1e999": ("1e999/1e999", "not a finite"),
    "l1:1..": ("", "not a number"),
    "l1:1..b": ("b", "not a number"),
    "l1:5..1": ("5..1", "lower end"),
    "l1:1..1": ("1..1", "lower end"),
    "l1:0..1:1": ("1", "2 to 9999"),
    "l1:0..1:": ("", "2 to 9999"),
    "l1:0..1:2.5": ("2.5", "2 to 9999"),
    "l1:0..1:10000": ("10000", "2 to 9999"),
    "l1:a:b": ("a:b", "not a value"),
    "l1:a=b=c": ("b=c", "not a value"),
    "@l1": ("", "a label is"),
    "a+b@l1": ("a+b", "a label is"),
    "-a@l1": ("-a", "a label is"),
    "a@b@c": ("@", "cannot be here"),
    "l1=3": ("=", "cannot be here"),
    "l1,l2": (",", "cannot be here"),
    "l1+3": ("+", "cannot be here"),
    "1l": ("1", "cannot be here"),
    "_l": ("_", "cannot be here"),
    "l1.": (".", "cannot be here"),
    ":3": (":", "cannot be here"),
    "l1 ": (" ", "cannot be in a spec"),
    "l1:\n1": ("\n", "cannot be in a spec"),
    "l1:\u00e9": ("\u00e9", "cannot be in a spec"),
    "l1:\udc80": ("\udc80", "cannot be in a spec"),
    "l1:\u0663": ("\u0663", "cannot be in a spec"),
    "l1:(1)": ("(", "cannot be in a spec"),
}


@pytest.mark.parametrize("typed, printed", ACCEPTED.items())
def test_printed_form_is_canonical(typed: str, printed: str) -> None:
    assert str(parse(typed)) == printed
    assert parse(printed) == parse(typed) and hash(parse(printed)) == hash(parse(typed))


def test_parts_of_a_spec() -> None:
    spec = parse("heavy@l1:1e-3,2,key=true,no,8/255+b.c:x=1..2")
    first, second = spec.terms
    assert (spec.label, first.name, second.name) == ("heavy", "l1", "b.c")
    assert [(s.key, s.values) for s in first.settings] == [(None, (0.001, 2)), ("key", (True, "no", Ratio(8, 255)))]
    assert second.settings == (Setting("x", (Range(1, 2, None),)),)
    assert type(first.settings[0].values[1]) is int
    assert float(Ratio(8, 255)) == 8 / 255
    built = Spec((Term("l1", (Setting(None, (1e-3,)),)), Term("dropout")), "heavy")
    assert parse("heavy@l1:0.001+dropout") == built and hash(parse(str(built))) == hash(built)


@pytest.mark.parametrize("one, other", [("l1:1e-3", "l1:0.001"), ("l1:1e+3", "l1:1000"), ("l1:2.0", "l1:2")])
def test_one_number_typed_in_two_ways_is_one_spec(one: str, other: str) -> None:
    assert parse(one) == parse(other) and len({parse(one), parse(other)}) == 1


@pytest.mark.parametrize("one, other", [("a:x=true", "a:x=1"), ("a:8/255", "a:16/510"), ("a:1", "a:k=1"), ("a", "b@a")])
def test_different_specs_differ(one: str, other: str) -> None:
    assert parse(one) != parse(other) and len({parse(one), parse(other)}) == 2


@pytest.mark.parametrize("typed", REFUSED)
def test_refused_text_is_marked_with_a_hint(typed: str) -> None:
    marked, message = REFUSED[typed]
    with pytest.raises(UsageError, match=message) as caught:
        parse(typed)
    _, shown, carets = str(caught.value).splitlines()
    shown, carets = shown.removeprefix("  "), carets.removeprefix("  ")
    start = len(carets) - len(carets.lstrip())
    length = len(carets.strip().split()[0])
    assert set(carets[start : start + length]) == {"^"} and length == max(1, len(marked))
    assert typed[start : start + len(marked)] == marked
    assert len(shown) == len(typed)
    assert "  " in carets.strip(), "no hint"


def test_marked_column_is_that_of_the_second_occurrence() -> None:
    with pytest.raises(UsageError) as caught:
        parse("l1:a=1,b=2,a=3")
    assert str(caught.value).splitlines()[2].index("^") == 2 + 11


def test_empty_and_endless_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="empty spec; example"):
        parse("")
    assert parse("a" * LONGEST).terms[0].name == "a" * LONGEST
    with pytest.raises(UsageError, match="at most 5,000 characters, got 5,001"):
        parse("a" * (LONGEST + 1))


def test_message_about_a_long_spec_shows_the_part_that_is_wrong() -> None:
    typed = "l1:" + ",".join(map(str, range(500))) + ",1x," + ",".join(map(str, range(500)))
    with pytest.raises(UsageError) as caught:
        parse(typed)
    message, shown, carets = str(caught.value).splitlines()
    assert max(map(len, (message, shown, carets))) < 140
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "1x"
    assert shown.startswith("  ...") and shown.endswith("...")
    with pytest.raises(UsageError) as caught:
        parse("l1:1" + "x" * 500)
    message, shown, carets = str(caught.value).splitlines()
    assert max(map(len, (message, shown, carets.split("^  ")[0]))) < 110


def test_mark_renders_three_lines() -> None:
    assert mark("dropuot:p=1", 0, 7, "unknown 'dropuot'", "dropout?") == (
        "unknown 'dropuot'\n  dropuot:p=1\n  ^^^^^^^  dropout?"
    )
    assert mark("ab", 2, 2, "more") == "more\n  ab\n    ^"
    assert str(NOWHERE.error("wrong", "do this")) == "wrong; do this"


def test_places_point_at_name_key_and_values_and_do_not_enter_equality() -> None:
    typed = "x@l1:1,22+dropout:p=0.5,abc"
    spec = parse(typed)
    bare, keyed = spec.terms[0].settings[0], spec.terms[1].settings[0]
    assert [term.at.typed for term in spec.terms] == ["l1", "dropout"]
    assert (bare.at.typed, bare.place(1).typed, bare.place(1).start) == ("1", "22", 7)
    assert (keyed.at.typed, keyed.place(0).typed, keyed.place(1).typed) == ("p", "0.5", "abc")
    assert "^^^" in str(keyed.place(1).error("no"))
    assert parse("yy@" + typed[2:]).terms == spec.terms
    assert str(Setting("p", (1,)).place().error("no")) == "no"


def test_a_term_is_a_spec_without_plus_and_label() -> None:
    assert parse_term("fgsm:eps=8/255,steps=40") == parse("fgsm:eps=8/255,steps=40").terms[0]
    for typed, column in (("fgsm+pgd", 4), ("x@fgsm", 1), ("", None), ("a:", 1)):
        with pytest.raises(UsageError) as caught:
            parse_term(typed)
        if column is not None:
            assert str(caught.value).splitlines()[2].index("^") == 2 + column


def printed(specs: list[Spec]) -> list[str]:
    return [str(spec) for spec in specs]


def test_grids_become_their_cross_product_in_typed_order() -> None:
    assert printed(expand(parse("l1:1,2,k=a,b+none+d:3,4"))) == [
        f"l1:{x},k={k}+none+d:{d}" for x in (1, 2) for k in "ab" for d in (3, 4)
    ]
    assert expand(parse("h@none")) == [parse("h@none")]
    assert printed(expand(parse("h@l1:2,1,2.0"))) == ["h@l1:2", "h@l1:1"]


def test_ranges_become_points_spaced_as_asked() -> None:
    assert printed(expand(parse("a:0..1:5"))) == ["a:0", "a:0.25", "a:0.5", "a:0.75", "a:1"]
    assert printed(expand(parse("a:7,1..2:2"))) == ["a:7", "a:1", "a:2"]
    assert printed(expand(parse("a:k=1/255..3/255:2"))) == ["a:k=1/255", "a:k=3/255"]
    assert printed(expand(parse("a:-1e+308..1e+308:3"))) == ["a:-1e308", "a:0", "a:1e308"]
    asked = []
    specs = expand(
        parse("a:1e-6..1e-1:6+b:k=0..2:3"), scale=lambda *of: asked.append(of) or ("log", "linear")[of[0] == "b"]
    )
    assert printed(specs)[::3] == [f"a:{x}+b:k=0" for x in ("1e-6", "1e-5", "0.0001", "0.001", "0.01", "0.1")]
    assert printed(specs)[:3] == [f"a:1e-6+b:k={k}" for k in (0, 1, 2)]
    assert asked == [("a", None), ("b", "k")]


def test_a_range_to_search_is_kept_only_when_asked() -> None:
    spec = parse("a:1,k=1e-4..1e-1,5")
    with pytest.raises(UsageError, match="needs a number of points") as caught:
        expand(spec)
    assert str(caught.value).splitlines()[2].index("^") == 2 + 6
    assert printed(expand(spec, search=True)) == ["a:1,k=0.0001..0.1", "a:1,k=5"]


def test_expansion_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(UsageError, match="begins above 0"):
        expand(parse("a:0..1:3"), scale=lambda *_: "log")
    started = perf_counter()
    with pytest.raises(UsageError, match="99,980,001 specs"):
        expand(parse("a:x=0..1:9999,y=0..1:9999"))
    assert perf_counter() - started < 0.5


def test_expanded_settings_still_know_their_place() -> None:
    specs = expand(parse("a:10,200,k=0..1:3"))
    assert [s.terms[0].settings[0].place().typed for s in specs] == ["10"] * 3 + ["200"] * 3
    assert {s.terms[0].settings[1].place().typed for s in specs} == {"0..1:3"}


# Random specs, built from the grammar and not by the parser.
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,5}(\.[a-z0-9]{1,3})?", fullmatch=True)
keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,5}", fullmatch=True)
words = st.from_regex(r"([A-Za-z_/]|\.(?![0-9]))[A-Za-z0-9_./-]{0,8}", fullmatch=True)
integers = st.integers(-(10**18), 10**18).map(str)
floats = st.floats(allow_nan=False, allow_infinity=False).map(repr)
numbers = st.one_of(
    st.integers(-99, 99).map(str), integers, floats, st.sampled_from(["1e+3", ".5", "5.", "+1", "1E-3"])
)
ratios = st.builds("{}/{}".format, st.integers(-300, 300), st.integers(1, 300))
ranges = st.builds(
    lambda low, gap, count: f"{low}..{low + gap}{count}",
    st.integers(-50, 50),
    st.integers(1, 50),
    st.one_of(st.just(""), st.integers(2, 9).map(":{}".format)),
)
values = st.one_of(numbers, ratios, ranges, words, st.sampled_from(["true", "false"]))
grids = st.lists(values, min_size=1, max_size=3)


Shape = list[tuple[str | None, int]]  # each key of a term with its number of values


@st.composite
def terms(draw: st.DrawFn) -> tuple[str, str, Shape]:
    found = [(None, draw(grids))] if draw(st.booleans()) else []
    found += [(key, draw(grids)) for key in draw(st.lists(keys, max_size=3, unique=True))]
    chunks = [",".join(grid) if key is None else f"{key}={','.join(grid)}" for key, grid in found]
    name = draw(names)
    return name + (":" + ",".join(chunks) if chunks else ""), name, [(key, len(grid)) for key, grid in found]


labels = st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True))
specs = st.lists(terms(), min_size=1, max_size=4, unique_by=lambda term: term[1])


@settings(max_examples=300, deadline=None)
@given(labels, specs)
def test_parsing_what_was_printed_gives_the_same_spec(label: str | None, parts: list[tuple[str, str, Shape]]) -> None:
    spec = parse(("" if label is None else f"{label}@") + "+".join(text for text, _, _ in parts))
    assert spec.label == label
    assert [(term.name, [(s.key, len(s.values)) for s in term.settings]) for term in spec.terms] == [
        (name, shape) for _, name, shape in parts
    ]
    again = parse(str(spec))
    assert again == spec and hash(again) == hash(spec) and str(again) == str(spec)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_the_float_python_reads(number: float) -> None:
    (setting,) = parse(f"l1:{number!r}").terms[0].settings
    assert setting.values[0] == number
    assert parse(str(parse(f"l1:{number!r}"))).terms[0].settings[0].values[0] == number


def check_total(text: str) -> None:
    """Parsing ends in a spec or in a UsageError that a terminal can print, in under 50 ms."""
    for read in (parse, parse_term):
        for _ in range(5):  # a busy machine may be slow once, a slow parser is slow each time
            started = perf_counter()
            try:
                read(text)
            except UsageError as error:
                assert len(str(error).splitlines()) in (1, 3)
                str(error).encode("utf-8", "strict")
            if perf_counter() - started < 0.05:
                break
        else:
            pytest.fail(f"slow: {text[:50]!r}")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_only_usage_errors_escape_from_any_text(text: str) -> None:
    check_total(text)


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="ab1e0.,:=+-/@_", max_size=30))
@example("l1:0..1:" + "0" * 4900 + "2")
@example("l1:" + "9" * 4900)
@example("l1:1e" + "9" * 4900)
@example("l1:1e-" + "9" * 4900)
def test_only_usage_errors_escape_from_texts_near_the_grammar(text: str) -> None:
    check_total(text)
    try:
        spec = parse(text)
    except UsageError:
        return
    assert parse(str(spec)) == spec
    for spacing in ("linear", "log"):
        try:
            expanded = expand(spec, scale=lambda *_, spacing=spacing: spacing)
        except UsageError:
            continue
        assert expanded and all(parse(str(one)) == one for one in expanded[:3])


@pytest.mark.parametrize(
    "piece", ["1,", "a=1,", "a+", "a.", "a", "1", "-", "+", "..", "/", "1/", ":", "@", "=", ",", "1e+"]
)
@pytest.mark.parametrize("start", ["", "l1:", "l1:a=", "x@"])
def test_the_longest_texts_are_answered_quickly(start: str, piece: str) -> None:
    check_total((start + piece * LONGEST)[:LONGEST])


def test_many_distinct_keys_and_terms_are_read_quickly() -> None:
    check_total("l1:" + ",".join(f"k{i}={i}" for i in range(440)))
    check_total("+".join(f"t{i}:{i}" for i in range(440)))


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish"])
def test_every_accepted_form_is_safe_unquoted_in_a_shell(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    typed = [*ACCEPTED, *ACCEPTED.values()]
    script = "printf '%s\\n' " + " ".join(typed)
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == typed


def test_reading_a_spec_imports_neither_torch_nor_numpy() -> None:
    script = (
        "import sys, robustreg.spec as s; s.expand(s.parse('l1:0..1:3'))\n"
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'numpy', 'scipy', 'click', 'pluggy'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("pgd", "pgd_training"), ("drpout", "dropout"), ("early", "early_stopping"), ("", ""), ("xyzzy", "")],
)
def test_a_name_that_is_close_or_begun_is_suggested(typed: str, hint: str) -> None:
    known = ["pgd_training", "fgsm_training", "pgd_training_warmed_up", "dropout", "early_stopping", "l1"]
    assert suggest(typed, known) == (f" Did you mean {hint!r}?" if hint else "")

"""What heads do, held against slow and obvious loops, and against attention that is made up to a known answer."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_store import S3Store
from typer.testing import CliRunner

from maskedge import Attention, Predictor
from maskedge.arrays import Float32Array
from maskedge_batch.cli.app import app
from maskedge_batch.errors import InputError
from maskedge_batch.heads.annotated import AnnotatedSentence, Dependent, read_conllu, token_words
from maskedge_batch.heads.clusters import HeadDistances, cluster
from maskedge_batch.heads.relations import FEWEST, RelationCounts
from maskedge_batch.heads.roles import RoleSums
from maskedge_batch.heads.word_attention import attention_between_words

TREEBANK = """# text = I don't like the old house.
1\tI\tI\tPRON\t_\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\t_\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\t_\t_\t4\tadvmod\t_\t_
4\tlike\tlike\tVERB\t_\t_\t0\troot\t_\t_
5\tthe\tthe\tDET\t_\t_\t7\tdet\t_\t_
6\told\told\tADJ\t_\t_\t7\tamod\t_\t_
7\thouse\thouse\tNOUN\t_\t_\t4\tobj\t_\tSpaceAfter=No
8\t.\t.\tPUNCT\t_\t_\t4\tpunct\t_\t_

# text = <b>River</b> flows
1\t<b>River</b>\triver\tNOUN\t_\t_\t2\tnsubj\t_\t_
2\tflows\tflow\tVERB\t_\t_\t0\troot\t_\t_

"""
SHARED = Path(__file__).parents[4] / "shared" / "ud" / "en_ewt-ud-dev.conllu"


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    path = tmp_path / "small.conllu"
    path.write_text(TREEBANK, encoding="utf-8")
    return path


def made_up(weights: Float32Array, tokens: list[str]) -> Attention:
    """Attention [layers, heads, tokens, tokens] of a text between [CLS] and [SEP]."""
    ids = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    words = (None, *range(len(tokens) - 2), None)
    return Attention(" ".join(tokens), tuple(ids[token] for token in tokens), tuple(tokens), words, weights, False)


def random_weights(*shape: int) -> Float32Array:
    weights: Float32Array = np.random.default_rng(1).random(shape).astype(np.float32) ** 4
    weights /= weights.sum(-1, keepdims=True)
    return weights


def test_sentences_are_read_with_their_words_where_they_stand(treebank: Path) -> None:
    first, second = read_conllu(treebank)
    assert first.text == "I don't like the old house."
    assert [first.text[word.start : word.stop] for word in first.words] == [
        "I", "do", "n't", "like", "the", "old", "house", ".",
    ]  # fmt: skip
    assert [word.head for word in first.words] == [3, 3, 3, None, 6, 6, 3, 3]
    assert second.text == "<b>River</b> flows"


@pytest.mark.skipif(not SHARED.exists(), reason="the treebank is not part of the project")
def test_a_real_treebank_is_read_as_its_own_texts_are() -> None:
    texts = [line.removeprefix("# text = ") for line in SHARED.read_text().splitlines() if line.startswith("# text = ")]
    read = list(read_conllu(SHARED))
    assert [sentence.text for sentence in read] == [" ".join(text.split()) for text in texts]
    spelled = [sentence.text[word.start : word.stop] for sentence in read for word in sentence.words]
    assert sum(map(bool, spelled)) / len(spelled) > 0.99


def test_what_is_no_treebank_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.conllu"
    path.write_text("1\tonly two\n\n")
    with pytest.raises(InputError, match=str(path)):
        list(read_conllu(path))


def test_a_token_belongs_to_the_word_of_its_first_character() -> None:
    words = [Dependent(2, 4, None, "root"), Dependent(4, 7, 0, "advmod")]  # in "I don't"
    assert token_words(words, [(0, 1), (2, 5), (5, 6), (6, 7), (7, 7)]) == [None, 0, 1, 1, None]


def test_attention_between_words_is_a_sum_over_keys_and_a_mean_over_queries() -> None:
    weights, words = random_weights(3, 6, 6), [None, 0, 1, 1, 2, None]
    found = attention_between_words(weights, words, 4)
    groups = [[1], [2, 3], [4], []]
    for head in range(3):
        for query, queries in enumerate(groups):
            for key, keys in enumerate(groups):
                total = sum(float(weights[head, q, k]) for q in queries for k in keys)
                assert found[head, query, key] == pytest.approx(total / max(len(queries), 1), abs=1e-6)


def test_roles_are_those_of_an_obvious_loop() -> None:
    tokens = ["[CLS]", "the", "cat", ",", "the", "dog", "!", "[SEP]"]
    attention = made_up(random_weights(2, 3, 8, 8), tokens)
    sums = RoleSums(2, 3)
    sums.add(attention)
    sums.add(attention)
    found = sums.means()
    text = range(1, 7)
    for layer in range(2):
        for head in range(3):
            rows = attention.weights[layer, head].tolist()
            slow: dict[str, float] = dict.fromkeys(found, 0.0)
            for q in text:
                row = rows[q]
                slow["previous"] += row[q - 1]
                slow["next"] += row[q + 1]
                slow["self"] += row[q]
                slow["same"] += sum(row[k] for k in text if k != q and tokens[k] == tokens[q])
                slow["first"] += row[0]
                slow["separator"] += row[7]
                slow["punctuation"] += row[3] + row[6]
                slow["distance"] += sum(row[k] * abs(k - q) for k in text) / sum(row[k] for k in text)
                slow["entropy"] -= sum(p * math.log(p) for p in row)
                slow["confidence"] += max(row)
            for role, total in slow.items():
                assert found[role][layer, head] == pytest.approx(total / len(text), rel=1e-4), role
    assert sums.uniform()["first"] == pytest.approx(1 / 8)
    assert sums.uniform()["entropy"] == pytest.approx(math.log(8))


def test_distances_between_heads_are_jensen_shannon_divergences() -> None:
    attention = made_up(random_weights(1, 3, 5, 5), ["[CLS]", "a", "b", "c", "[SEP]"])
    distances = HeadDistances(3)
    distances.add(attention)
    found = distances.means()
    rows = attention.weights[0].astype(np.float64)
    for a in range(3):
        for b in range(3):
            middle = (rows[a] + rows[b]) / 2
            slow = ((rows[a] * np.log(rows[a] / middle) + rows[b] * np.log(rows[b] / middle)) / 2).sum(-1).mean()
            assert found[a, b] == pytest.approx(slow, abs=1e-5)


def test_heads_that_look_alike_are_in_one_group() -> None:
    near, far = 0.1, 0.6
    distances = np.array([[0 if a == b else near if a // 3 == b // 3 else far for a in range(6)] for b in range(6)])
    assert cluster(distances, 2) == [0, 0, 0, 1, 1, 1]
    assert sorted(cluster(distances, 6)) == list(range(6))


def counted(sentences: int, finds: float) -> RelationCounts:
    """Sentences of 9 words with one `obj`, its head 2 to 4 words before it. Head 2 of layer 1 finds it in that share of
    the sentences, and head 1 looks one word to the left."""
    rng, counts = np.random.default_rng(0), RelationCounts(1, 2)
    for _ in range(sentences):
        distance = int(rng.integers(2, 5))
        words = [Dependent(2 * n, 2 * n + 1, None, "root") for n in range(9)]
        words[8] = Dependent(16, 17, 8 - distance, "obj")
        between = np.full((2, 9, 9), 0.01, np.float32)
        between[0, range(1, 9), range(8)] = 0.9
        between[1, 8, 8 - distance if rng.random() < finds else 0] = 0.9
        between[:, range(9), range(9)] = 0.95  # a word that looks at itself most still has a next best
        counts.add(AnnotatedSentence("a " * 9, tuple(words)), between, [True] * 9)
    return counts


def test_the_head_that_finds_a_relation_is_found_with_its_accuracy_and_the_best_distance() -> None:
    to_dependent, to_head = sorted(counted(4000, finds=0.7).results(), key=lambda result: result.direction)
    assert (to_head.direction, to_dependent.direction) == ("to head", "to dependent")
    assert (to_head.layer, to_head.head, to_head.cases) == (1, 2, 2000)
    assert to_head.interval[0] < 0.7 < to_head.interval[1]
    assert to_head.baseline == pytest.approx(1 / 3, abs=0.04)
    assert to_head.offset in (-2, -3, -4)
    assert to_head.gain_interval[0] > 0.3
    assert to_head.gain == pytest.approx(to_head.accuracy - to_head.baseline)


def test_the_best_of_many_heads_without_skill_is_not_reported_as_skilled() -> None:
    """On the half it was chosen on it would look better than chance; on the other it does not."""
    rng, counts = np.random.default_rng(3), RelationCounts(12, 12)
    for _ in range(400):
        words = [Dependent(2 * n, 2 * n + 1, None, "root") for n in range(10)]
        words[9] = Dependent(18, 19, int(rng.integers(0, 9)), "obj")
        counts.add(AnnotatedSentence("a " * 10, tuple(words)), rng.random((144, 10, 10), np.float32), [True] * 10)
    result = next(result for result in counts.results() if result.direction == "to head")
    assert max(counts.accuracies("obj", "to head")[0]) > 1 / 9 + 0.02
    assert result.interval[0] < 1 / 9 < result.interval[1]


def test_rare_relations_are_left_out() -> None:
    assert counted(2 * FEWEST - 2, finds=1).results() == []
    assert len(counted(2 * FEWEST, finds=1).results()) == 2


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["heads", *map(str, arguments)])


def test_the_command_writes_page_and_figures(treebank: Path, bundle: Path, tmp_path: Path) -> None:
    result = run(treebank, "-o", tmp_path / "out", "--model", bundle, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["sentences"], said["layers"], said["heads"]) == (2, 2, 4)
    assert said == json.loads((tmp_path / "out" / "heads.json").read_text())
    table = pq.read_table(tmp_path / "out" / "heads.parquet").to_pylist()
    assert [(row["layer"], row["head"]) for row in table] == [(layer, head) for layer in (1, 2) for head in range(1, 5)]
    assert table[5]["previous"] == said["roles"]["previous"][1][1]
    assert pq.read_table(tmp_path / "out" / "relations.parquet").num_rows == 0  # too few cases
    assert "What each head of" in (tmp_path / "out" / "heads.html").read_text()


def test_results_that_are_there_are_kept_unless_they_may_be_replaced(
    treebank: Path, bundle: Path, tmp_path: Path
) -> None:
    relations = tmp_path / "out" / "relations.parquet"
    relations.parent.mkdir()
    relations.write_text("somebody's")
    refused = run(treebank, "-o", tmp_path / "out", "--model", tmp_path / "no-bundle")
    expected = f"Error: {relations} exists already: --overwrite replaces it, or name another place with -o.\n"
    assert (refused.exit_code, refused.stderr) == (2, expected)
    assert [path.name for path in relations.parent.iterdir()] == [relations.name]
    assert run(treebank, "-o", tmp_path / "out", "--model", bundle, "--overwrite").exit_code == 0
    assert pq.read_metadata(relations).num_rows == 0


def test_a_store_is_no_place_for_the_results(treebank: Path, bundle: Path) -> None:
    refused = run(treebank, "-o", "s3://bucket/out", "--model", bundle)
    assert refused.exit_code == 2
    assert "s3://bucket/out" in refused.stderr
    assert "is not on this machine" in refused.stderr


def test_a_model_of_the_hub_is_named_by_its_id_and_revision(
    treebank: Path, hub: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    ran = run(treebank, "-o", tmp_path / "out", "--model", "org/tiny", "--revision", "v2", "--json")
    assert ran.exit_code == 0, ran.output
    assert hub == [("org/tiny", "v2")]
    assert json.loads(ran.stdout)["run"]["model"] == "tiny"


def test_a_corpus_is_files_directories_or_globs_annotated_or_not(
    treebank: Path, bundle: Path, tmp_path: Path, words: list[str]
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    shutil.copyfile(treebank, folder / "a.conllu")
    rows = [{"text": " ".join(words[:4]), "more": 1}, {"text": None, "more": 2}]
    (folder / "b.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pq.write_table(pa.table({"text": [words[5]]}), folder / "c.parquet")  # of other columns
    (folder / "README.md").write_text("what is no corpus")
    named: list[list[Path | str]] = [
        [folder],
        [f"{folder}/*.*[ltu]"],
        [folder / name for name in ("a.conllu", "b.jsonl", "c.parquet")],
    ]
    said = []
    for number, places in enumerate(named):
        ran = run(*places, "-o", tmp_path / str(number), "--model", bundle, "--json")
        assert ran.exit_code == 0, ran.output
        said.append(json.loads(ran.stdout))
    assert said[0]["sentences"] == 2 + 1 + 1
    assert said[0]["roles"] == said[1]["roles"] == said[2]["roles"]
    assert [one["run"]["input"] for one in said] == ["corpus", "*.*[ltu]", "a.conllu and 2 more"]


def test_standard_input_is_json_lines(bundle: Path, tmp_path: Path, words: list[str]) -> None:
    lines = "".join(json.dumps({"sentence": " ".join(words[i : i + 4])}) + "\n" for i in range(3))
    options = ["-o", str(tmp_path / "out"), "--model", str(bundle), "--text-column", "sentence", "--json"]
    ran = CliRunner().invoke(app, ["heads", "-", *options], input=lines)
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert (said["sentences"], said["run"]["input"]) == (3, "standard input")
    refused = run("-", tmp_path / "none.conllu", "-o", tmp_path / "other", "--model", bundle)
    assert "read alone" in refused.stderr


def test_a_treebank_is_read_from_a_store(treebank: Path, bundle: Path, tmp_path: Path, s3: S3Store) -> None:
    s3.put("ud/small.conllu", treebank.read_bytes())
    ran = run("s3://corpus/ud", "-o", tmp_path / "out", "--model", bundle, "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["sentences"] == 2


def test_figures_are_those_of_the_predictor(treebank: Path, bundle: Path, predictor: Predictor, tmp_path: Path) -> None:
    run(treebank, "-o", tmp_path, "--model", bundle, "--limit", 1)
    said = json.loads((tmp_path / "heads.json").read_text())
    weights = predictor.attend("I don't like the old house.").weights
    length = weights.shape[-1]
    previous = np.mean([weights[:, :, q, q - 1] for q in range(1, length - 1)], axis=0)
    np.testing.assert_allclose(said["roles"]["previous"], previous, rtol=1e-4)
    assert said["sentences"] == 1


def test_examples_show_sentences_as_text(bundle: Path, tmp_path: Path) -> None:
    hostile = TREEBANK.split("\n\n")[1].replace("flows", "<script>alert(1)</script>")
    path = tmp_path / "hostile.conllu"
    path.write_text("\n\n".join([hostile] * 300) + "\n\n")
    result = run(path, "-o", tmp_path / "out", "--model", bundle)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "heads.html").read_text()
    assert "nsubj" in page
    assert "<script>alert" not in page
    assert "<b>River" not in page


def test_plain_texts_have_roles_and_no_relations(bundle: Path, tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\n".join([" ".join(words[:5]), "", " ".join(words[5:9]), f"{words[0]} [MASK]"]))
    said = json.loads(run(path, "-o", tmp_path / "out", "--model", bundle, "--json").stdout)
    assert (said["sentences"], said["set_aside"], said["relations"]) == (3, {"empty_text": 1}, [])


def test_a_bundle_without_an_attention_graph_is_refused_before_anything_is_read(bundle: Path, tmp_path: Path) -> None:
    earlier = shutil.copytree(bundle, tmp_path / "earlier")
    manifest = json.loads((earlier / "maskedge.json").read_text())
    del manifest["attention"]
    (earlier / "maskedge.json").write_text(json.dumps(manifest))
    result = run(tmp_path / "none.conllu", "-o", tmp_path / "out", "--model", earlier)
    assert result.exit_code == 2
    assert "export its checkpoint again" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_corpus_is_named(bundle: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.conllu", "-o", tmp_path / "out", "--model", bundle)
    assert result.exit_code == 2
    assert "none.conllu" in result.stderr

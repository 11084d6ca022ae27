//! Content of each type: what is taken, and what is refused with its place.

use std::path::Path;

use outrigger_api::ContentType;
use outrigger_api::settings::Manifest;
use proptest::prelude::*;
use semver::Version;

use super::error::ERRORS_MAX;
use super::*;

pub(crate) const HASH: &str = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";

/// A manifest with this `[content]`.
pub(crate) fn manifest(content: &str) -> Manifest {
    let text = format!(
        "name = \"pipes\"\nvendor = \"V\"\nversion = \"1.4.0\"\ncontract = \"1\"\nverdict = \"subject\"\n\
         entry.program = \"p\"\nevents.\"process.exec\".needs = \"ask\"\n\
         needs.fields = [\"path\", \"credentials\", \"attributes\"]\nneeds.content = true\n{content}"
    );
    Manifest::parse(&text, Path::new("manifest.toml")).expect("a manifest")
}

/// One that reads tables and supplies these inputs.
pub(crate) fn table_manifest(inputs: &[&str]) -> Manifest {
    let inputs = inputs.join("\", \"");
    manifest(&format!("[content]\ntype = \"table\"\nschema = \"1\"\ninputs = [\"{inputs}\"]\n"))
}

pub(crate) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        std::fs::write(file, bytes).expect("written");
    }
    folder
}

fn checked(kind: ContentType, files: &[(&str, &[u8])]) -> Result<Content, String> {
    let folder = folder(files);
    let manifest = table_manifest(&["path", "uid", "pipe"]);
    let version = Version::new(1, 4, 0);
    let code = Code { version: &version, manifest: &manifest };
    check(folder.path(), kind, code).map_err(|errors| errors.to_string())
}

fn table(text: &str) -> Result<Content, String> {
    checked(ContentType::Table, &[("a.table", text.as_bytes())])
}

fn list(text: &[u8]) -> Result<Content, String> {
    checked(ContentType::Hashlist, &[("a.deny", text)])
}

fn told<T>(result: Result<T, String>) -> String {
    result.map(|_| ()).expect_err("refused")
}

mod compatibility {
    use super::*;

    fn compatible(interpreter: &str, schema: u32, content: &str) -> Result<(), String> {
        let manifest = manifest(content);
        let version = Version::new(1, 4, 0);
        let interpreter = interpreter.parse().expect("a requirement");
        let declared = Declaration { kind: ContentType::Yara, schema, interpreter };
        let code = Code { version: &version, manifest: &manifest };
        super::compatible(&declared, code).map_err(|error| error.to_string())
    }

    const YARA: &str = "[content]\ntype = \"yara\"\nschema = \"1-2\"\n";

    #[test]
    fn code_that_the_content_is_for_takes_it() {
        assert_eq!(compatible(">=1.2, <2", 1, YARA), Ok(()));
    }

    #[test]
    fn content_for_newer_code_is_refused_with_both_versions() {
        let told = compatible(">=1.5", 1, YARA).expect_err("refused");

        assert_eq!(told, "the content is for pipes >=1.5, and the code is pipes 1.4.0");
    }

    #[test]
    fn another_type_or_schema_is_refused_with_what_is_read() {
        let list = "[content]\ntype = \"hashlist\"\nschema = \"1\"\n";

        assert_eq!(
            compatible("*", 1, list).expect_err("refused"),
            "the content is of the type yara, and pipes 1.4.0 reads hashlist"
        );
        assert_eq!(
            compatible("*", 3, YARA).expect_err("refused"),
            "the content is of schema 3 of yara, and pipes 1.4.0 reads 1 to 2"
        );
        assert_eq!(
            compatible("*", 1, "").expect_err("refused"),
            "pipes 1.4.0 reads no content: its manifest has no `[content]`"
        );
    }

    #[test]
    fn a_schema_that_only_the_code_knows_is_refused() {
        let told = compatible("*", 2, YARA).expect_err("refused");

        assert!(told.ends_with("this Outrigger checks 1 to 1: update Outrigger first"), "{told}");
    }
}

#[test]
fn a_table_is_read_with_its_columns_instances_and_cells() {
    let content = table("# pipes\n\ncolumns\tpath\tpipe\none\t/bin/x y\t*\r\ntwo\t*\t\\*\n");

    let content = content.expect("right");
    let Body::Table(tables) = content.body() else { panic!("no table: {content:?}") };
    let cells: Vec<Vec<String>> =
        tables[0].instances.iter().map(|it| it.cells.iter().map(Cell::written).collect()).collect();
    assert_eq!(tables[0].columns, ["path", "pipe"]);
    assert_eq!(cells, [["/bin/x y", "*"], ["*", "\\*"]]);
    assert_eq!(tables[0].instances[1].cells[1].value(), Some("*"));
    assert_eq!(tables[0].instances[1].line, 5);
}

#[test]
fn a_column_that_the_code_does_not_supply_is_named_with_the_instance_that_uses_it() {
    let text = "columns\tpath\tuid\tpipe\tipc_name\nfirst\t*\t*\t*\t*\nsecond\t*\t*\t*\tspooler\n";

    let told = told(table(text));

    let want = "a.table:3: instance \"second\", field 4 `ipc_name` is not supplied: pipes 1.4.0 supplies 3 \
                inputs, and `ipc_name` is none of them";
    assert_eq!(told, want);
}

#[test]
fn a_column_that_is_only_named_is_refused_too() {
    let told = told(table("columns\tpath\tipc_name\nfirst\t*\t*\n"));

    assert!(told.starts_with("a.table:1: field 2 `ipc_name` is not supplied"), "{told}");
    assert!(told.ends_with("(no instance has a value in it yet)"), "{told}");
}

#[test]
fn a_wrong_line_of_a_table_is_told_with_its_place() {
    let with = |line: &str| told(table(&format!("columns\tpath\tuid\n{line}\n")));

    let cells = "a.table:2: instance \"one\" has 1 cells, and the table has 2 columns";
    assert_eq!(with("one\t*"), cells);
    let empty =
        "a.table:2: instance \"one\", field 2 `uid`: is empty: write * where every value matches";
    assert_eq!(with("one\t*\t"), empty);
    assert!(with("one\tbin/x\t*").contains("field 1 `path`: \"bin/x\" never matches"));
    assert!(with("one\t/a/../b\t*").contains("field 1 `path`: \"/a/../b\" never matches"));
    assert!(with("one\t*\t007").contains("field 2 `uid`: \"007\" never matches"));
    assert!(with("one\t*\t4294967296").contains("field 2 `uid`: \"4294967296\" never matches"));
    assert!(with("o ne\t*\t*").starts_with("a.table:2: \"o ne\" is no name of an instance"));
    let twice = "a.table:4: instance \"one\" is there twice: line 2 has it already";
    assert_eq!(with("one\t*\t1\ntwo\t*\t2\none\t*\t3"), twice);
    assert_eq!(
        with("one\t*\t\u{1b}[2J"),
        "a.table:2: instance \"one\", field 2 `uid`: holds a control character"
    );
}

#[test]
fn wrong_columns_are_told() {
    let first =
        "the first line must be `columns`, a tab, and the names of the columns between tabs";
    assert_eq!(told(table("")), format!("a.table:1: {first}"));
    assert_eq!(told(table("one\t*\n")), format!("a.table:1: {first}"));
    assert_eq!(told(table("columns\n")), format!("a.table:1: {first}"));
    assert!(told(table("columns\tPath\n")).contains("\"Path\" is no name of a column"));
    assert!(told(table("columns\tpath\tpath\n")).contains("\"path\" is no name of a column that"));
    let many: String = (0..257).map(|at| format!("\tc{at}")).collect();
    let told = told(table(&format!("columns{many}\n")));
    assert_eq!(told, "a.table:1: over 256 columns in a table");
}

#[test]
fn instances_over_the_limit_are_refused_and_not_read_on() {
    let text: String = (0..70_000).map(|at| format!("i{at}\t*\n")).collect();

    let told = told(table(&format!("columns\tpath\n{text}")));

    assert_eq!(told, "a.table:65538: over 65536 instances in all tables");
}

#[test]
fn only_so_many_errors_are_kept() {
    let told = told(table(&format!("columns\tpath\n{}", "one\n".repeat(100))));

    assert_eq!(told.lines().count(), ERRORS_MAX + 1);
    assert!(told.ends_with("and 80 more"), "{told}");
}

#[test]
fn hash_lists_are_counted_with_their_names_and_comments() {
    let text = format!("# two\n{HASH} eicar\n\n{} *x\n", HASH.replace('2', "3"));

    let content = list(text.as_bytes()).expect("right");

    let Body::Hashlist(lists) = content.body() else { panic!("no list: {content:?}") };
    assert_eq!((lists.files, lists.denied, lists.allowed), (1, 2, 0));
    assert_eq!(hex::encode(lists.entries[0]), HASH);
}

#[test]
fn every_wrong_line_of_a_list_is_told() {
    let told = told(list(format!("{HASH}\nevil\n\n{}\n", &HASH[1..]).as_bytes()));

    let want = format!(
        "a.deny:2: \"evil\" is no SHA-256: 64 hexadecimal digits\n\
         a.deny:4: \"{}\" is no SHA-256: 64 hexadecimal digits",
        &HASH[1..]
    );
    assert_eq!(told, want);
}

#[test]
fn an_endless_line_of_a_list_is_refused() {
    assert_eq!(told(list(&vec![b'#'; 1 << 20])), "a.deny:1: over 4096 bytes in a line");
}

#[test]
fn entries_over_the_limit_are_refused() {
    let text = format!("{HASH}\n").repeat(1_000_001);

    assert_eq!(told(list(text.as_bytes())), "a.deny:1000001: over 1000000 entries in all lists");
}

#[test]
fn rules_are_named_through_comments_texts_and_expressions() {
    let text = r#"
        /* rule not_this { */ import "elf" // rule nor_this {
        private rule one : tag { strings: $a = "} rule x {" $b = /[}\/]"/ $c = { 00 [2-4] ?? }
            condition: filesize / 2 > 10 and $a matches /}/ }
        rule two{condition:true}
    "#;

    let content = checked(ContentType::Yara, &[("a.yar", text.as_bytes())]).expect("right");

    let Body::Yara(rules) = content.body() else { panic!("no rules: {content:?}") };
    assert_eq!(rules.rules, ["one", "two"]);
    assert_eq!(rules.unfinished, Vec::<String>::new());
}

#[test]
fn a_rule_file_that_ends_too_soon_is_said_to_and_left_to_its_engine() {
    let content = checked(ContentType::Yara, &[("a.yar", b"rule one { condition: \"")]);

    let content = content.expect("taken");
    let Body::Yara(rules) = content.body() else { panic!("no rules: {content:?}") };
    assert_eq!(
        (rules.rules.as_slice(), rules.unfinished.as_slice()),
        (&["one".to_owned()][..], &["a.yar".to_owned()][..])
    );
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let yara = |bytes: &[u8]| told(checked(ContentType::Yara, &[("a.yar", bytes)]));

    assert_eq!(yara(b"// fine\n// \xff\xfe\n"), "a.yar:2: is no UTF-8");
    assert_eq!(yara(b"// fine\n\0"), "a.yar:2: holds a zero byte, which no text has");
    assert_eq!(yara(&vec![b' '; (8 << 20) + 1]), "a.yar: over 8388608 bytes in a file");
}

#[test]
fn a_folder_without_content_is_refused() {
    let told = told(checked(ContentType::Hashlist, &[("list.den", HASH.as_bytes())]));

    assert_eq!(told, "no file that its interpreter reads: their names end with .deny or .allow");
}

#[test]
fn files_that_nobody_reads_are_named() {
    let files: &[(&str, &[u8])] =
        &[("a.deny", b""), ("b.den", b"x"), ("release.toml", b""), ("samples/deny/x", b"x")];

    let content = checked(ContentType::Hashlist, files).expect("right");

    assert_eq!(content.ignored(), ["\"b.den\""]);
}

#[test]
fn links_and_folders_are_no_content() {
    let folder = folder(&[("x", HASH.as_bytes())]);
    std::os::unix::fs::symlink("x", folder.path().join("a.deny")).expect("linked");
    std::fs::create_dir(folder.path().join("b.deny")).expect("made");
    let manifest = manifest("");
    let version = Version::new(1, 0, 0);

    let code = Code { version: &version, manifest: &manifest };
    let told = check(folder.path(), ContentType::Hashlist, code).expect_err("refused");

    assert_eq!(told.to_string(), "a.deny: is no regular file\nb.deny: is no regular file");
}

#[test]
fn samples_are_found_in_their_order_and_bounded() {
    let folder =
        folder(&[("samples/deny/b", b"2"), ("samples/deny/a", b"1"), ("samples/allow/c", b"3")]);

    let found = samples::read(folder.path()).expect("read");

    let found: Vec<(&str, bool, bool)> =
        found.iter().map(|it| (it.name.as_str(), it.denied, it.file.is_ok())).collect();
    assert_eq!(
        found,
        [
            ("samples/allow/c", false, true),
            ("samples/deny/a", true, true),
            ("samples/deny/b", true, true)
        ]
    );
}

mod variant {
    use super::super::variants::{Expected, How, trials};
    use super::*;

    fn parse(text: &str) -> Table {
        let mut errors = ContentErrors::default();
        let table = table::parse("a.table", text, &mut table::Room::default(), &mut errors);
        assert_eq!(errors, ContentErrors::default());
        table.expect("a table")
    }

    #[test]
    fn every_field_is_tried_with_a_value_and_with_a_wildcard() {
        let table = parse("columns\tpath\tuid\tpipe\none\t/bin/x\t*\t*\ntwo\t*\t7\t*\n");
        let manifest = table_manifest(&["path", "uid", "pipe"]);

        let tried: Vec<(String, How)> =
            trials(&table, &manifest).map(|it| (it.field, it.how)).collect();

        let fields = ["path", "uid", "pipe"].map(str::to_owned);
        let want: Vec<(String, How)> = [How::Specific, How::Wildcard]
            .into_iter()
            .flat_map(|how| fields.clone().map(|field| (field, how)))
            .collect();
        assert_eq!(tried, want);
    }

    #[test]
    fn a_field_of_wildcards_gets_a_value_in_every_instance() {
        let table = parse("columns\tpath\tpipe\none\t/bin/x\t*\ntwo\t/bin/y\t*\n");
        let manifest = table_manifest(&["path", "pipe"]);

        let trial = trials(&table, &manifest).find(|it| it.field == "pipe").expect("a trial");

        assert_eq!((trial.column, trial.how), (2, How::Specific));
        assert!(trial.table.instances.iter().all(|it| it.cells[1].value().is_some()), "{trial:?}");
        assert_eq!(trial.table.instances.len(), 3);
    }

    #[test]
    fn an_event_is_made_that_matches_and_one_that_nearly_does() {
        let table = parse("columns\tfolder\tname\tuid\none\t/srv\tx.sh\t33\n");
        let manifest = table_manifest(&["folder", "name", "uid"]);

        let trial = trials(&table, &manifest).next().expect("a trial");

        let [near, exact, ..] = trial.questions.as_slice() else { panic!("{trial:?}") };
        assert_eq!(exact.sample.path.as_deref(), Some(&b"/srv/x.sh"[..]));
        assert_eq!(exact.sample.credentials, Some((33, 0)));
        assert_eq!(exact.expected, Some(Expected::Denied));
        assert_ne!(near.sample, exact.sample);
        assert_eq!(near.expected, None);
    }

    #[test]
    fn cells_that_exclude_each_other_promise_nothing() {
        let table = parse("columns\tpath\tname\none\t/srv/a\tb\n");
        let manifest = table_manifest(&["path", "name"]);

        let trial = trials(&table, &manifest).next().expect("a trial");

        assert!(trial.questions.iter().take(2).all(|it| it.expected.is_none()), "{trial:?}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let table = parse("columns\tpath\tpipe\none\t/a b\t\\*\ntwo\t*\t\\\\x\n");
        let folder = folder(&[]);

        variants::write_table(folder.path(), &table).expect("written");

        let text = std::fs::read_to_string(folder.path().join("preflight.table")).expect("read");
        assert_eq!(parse(&text).instances[0].cells, table.instances[0].cells);
        assert_eq!(parse(&text).instances[1].cells, table.instances[1].cells);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_text_is_a_table_or_refused(text in "(columns|one|[a-z]{1,3}|[\t\n*/\\\\ #.0-9]){0,40}") {
        let mut errors = ContentErrors::default();
        let read = table::parse("a.table", &text, &mut table::Room::default(), &mut errors);
        prop_assert!(read.is_some() || !errors.errors().is_empty());
    }

    #[test]
    fn any_text_names_rules(text in "(rule|/|\\*|\"|\\{|\\}|\\\\|[a-z]|ä|[ \n=]){0,60}") {
        let mut rules = RuleFiles::default();
        rules.name_rules("a.yar", &text);
        prop_assert!(rules.rules.len() <= text.len());
    }

    #[test]
    fn any_bytes_are_a_list_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut errors = ContentErrors::default();
        let mut lists = Lists::default();
        lists.read_list("a.deny", bytes.as_slice(), &mut errors);
        prop_assert!(lists.denied <= bytes.len());
    }
}

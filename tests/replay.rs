//! `external-scheduler replay`: what it computes from small files, and what it says of files that make no sense.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with files of nodes and tasks.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new(nodes: &str, tasks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nodes.csv"), nodes).unwrap();
        fs::write(folder.path().join("tasks.csv"), tasks).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs with the two files and some arguments, in the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_external-scheduler"))
            .current_dir(self.folder.path())
            .env("RUST_LOG", "error")
            .args(["replay", "--nodes", "nodes.csv", "--tasks", "tasks.csv"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json", "-"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn assert_refused(&self, arguments: &[&str], code: i32, message: &str) {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {message}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?} says {message}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

fn assert_close(value: &Value, expected: f64, tolerance: f64) {
    let figure = value.as_f64().unwrap_or(f64::NAN);
    assert!((figure - expected).abs() <= tolerance, "{figure} is {expected} ± {tolerance}");
}

#[test]
fn filling_notes_shares_as_they_were_when_so_much_was_asked_for() {
    // Two of these tasks fit on 8 GPUs, the third asks for more than 100 %, the fourth ends the test at 150 %.
    let case = Case::new("node,CPU,GPU\na,10,4\nb,10,4\n", "CPU,GPU\n1,3\n1,3\n");
    let json = case.json(&["--seeds", "3"]);
    assert_eq!(json["configuration"]["scarcest"], "GPU");
    let policies = json["policies"].as_object().unwrap();
    assert!(policies.len() >= 9 && policies.contains_key("best-fit"), "{policies:?}");
    for (name, policy) in policies {
        for level in ["90", "95", "100", "115", "130"] {
            assert_eq!(policy["allocated"]["GPU"][level], 75.0, "{name} {level}");
            assert_eq!(policy["allocated"]["CPU"][level], 10.0, "{name} {level}");
            assert_eq!(policy["allocated_deviation"]["GPU"][level], 0.0, "{name} {level}");
        }
        assert_eq!(policy["first_rejection"], 112.5, "{name}");
        assert_eq!((&policy["placed"], &policy["rejected"]), (&2.0.into(), &2.0.into()), "{name}");
        assert_eq!(policy["decisions"], 12, "{name}");
    }
}

#[test]
fn units_are_kept_apart_where_that_is_asked_for() {
    // On 2 GPUs two tasks of 0.6 leave 0.4 of each: in sum enough for a third, which no GPU can host.
    let case = Case::new("node,CPU,GPU\na,10,2\n", "CPU,GPU\n1,0.6\n");
    for (arguments, allocated) in [
        (&["--policy", "first-fit,fragmentation"][..], 90.0),
        (&["--policy", "first-fit,fragmentation", "--units"], 60.0),
        (&["--policy", "first-fit,fragmentation", "--units", "--unit-resources", "CPU"], 90.0),
    ] {
        let json = case.json(arguments);
        for policy in ["first-fit", "fragmentation"] {
            assert_eq!(json["policies"][policy]["allocated"]["GPU"]["130"], allocated, "{arguments:?} {policy}");
        }
    }
    case.assert_refused(&["--units", "--unit-resources", "GPU,,TPU"], 2, "has an empty name");
}

#[test]
fn tasks_come_in_the_order_of_their_arrival() {
    // In the order of the file the second would be refused, in that of arrival the third.
    let case = Case::new("node,CPU\na,10\n", "arrival,duration,CPU\n0,1,6\n2,1,5\n1,1,4\n");
    let policy = &case.json(&["--order", "arrival", "--policy", "first-fit"])["policies"]["first-fit"];
    assert_eq!(policy["allocated"]["CPU"]["90"], 100.0);
    assert_eq!(policy["first_rejection"], 150.0);
    assert_eq!(policy["placed"], 2.0);
    let few =
        &case.json(&["--order", "arrival", "--arrivals", "0.5", "--policy", "first-fit"])["policies"]["first-fit"];
    assert_eq!(few["allocated"]["CPU"], serde_json::json!({ "50": 60.0 }));
    assert_eq!((&few["first_rejection"], &few["rejected"]), (&Value::Null, &0.0.into()));
    // Without times, in that of the file.
    let case = Case::new("node,CPU\na,10\n", "CPU\n6\n5\n4\n");
    let policy = &case.json(&["--order", "arrival", "--policy", "first-fit"])["policies"]["first-fit"];
    assert_eq!((&policy["first_rejection"], &policy["placed"]), (&110.0.into(), &2.0.into()));
}

#[test]
fn the_openb_format_counts_parts_of_gpus() {
    let case = Case::new(
        "sn,cpu_milli,memory_mib,gpu,model\nx,4000,1024,2,T4\n",
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\np,500,256,1,750,,0,9\n",
    );
    let policy = &case.json(&["--policy", "best-fit"])["policies"]["best-fit"];
    assert_eq!(policy["allocated"]["GPU"]["100"], 75.0);
    assert_eq!(policy["allocated"]["memory"]["100"], 50.0 + 25.0 - 25.0);
    assert_eq!(policy["allocated"]["CPU"]["100"], 25.0);
}

#[test]
fn churn_blocks_what_erlang_says() {
    // One place: of an offered load of a, a / (1 + a) is lost, and as much of the time the place is taken.
    let case = Case::new("node,slot\na,1\n", "slot\n1\n");
    for (load, lost) in [("1", 50.0), ("2", 200.0 / 3.0), ("0.25", 20.0)] {
        let arguments = ["--policy", "first-fit", "--churn", load, "--warmup", "100", "--measured", "20000"];
        let json = case.json(&[&arguments[..], &["--seeds", "2"]].concat());
        let policy = &json["policies"]["first-fit"];
        assert_close(&policy["blocked"]["slot"], lost, 1.5);
        assert_close(&policy["blocked_largest"], lost, 1.5);
        assert_close(&policy["utilisation"]["slot"], lost, 1.5);
        let offered = 100.0 * load.parse::<f64>().unwrap();
        assert_close(&policy["offered"], offered, offered / 20.0);
        assert_eq!(policy["allocated"]["slot"]["100"], 100.0, "the fill test runs as well");
    }
}

#[test]
fn churn_offers_every_policy_the_same() {
    // The second policy loses more tasks than the first.
    let case = Case::new("node,GPU\na,8\nb,8\nc,8\nd,8\n", "GPU\n1\n1\n1\n1\n1\n1\n8\n");
    let arguments = ["--arrivals", "0", "--churn", "0.9", "--warmup", "500", "--measured", "5000"];
    let json = case.json(&[&arguments[..], &["--policy", "best-fit,spread", "--seeds", "1"]].concat());
    let [one, other] = ["best-fit", "spread"].map(|policy| &json["policies"][policy]);
    assert_ne!(one["blocked"]["GPU"], other["blocked"]["GPU"]);
    assert_eq!(one["offered"], other["offered"]);
}

#[test]
fn churn_counts_what_can_never_run() {
    let case = Case::new("node,GPU\na,100\n", "GPU\n1\n1\n1\n900\n");
    let arguments = ["--arrivals", "0", "--churn", "0.1", "--measured", "2000", "--warmup", "0", "--policy", "spread"];
    let policy = &case.json(&arguments)["policies"]["spread"];
    assert_eq!(policy["blocked_largest"], 100.0);
    assert_close(&policy["blocked"]["GPU"], 99.7, 0.2);
    assert_eq!(policy["allocated"], Value::Null);
}

#[test]
fn tasks_wait_first_come_first_served() {
    let nodes = "node,CPU\na,2\n";
    struct Expected {
        makespan: f64,
        waits: [f64; 4],
        utilisation: f64,
        infeasible: f64,
    }
    let cases = [
        (
            "arrival,duration,CPU\n100,10,2\n101,5,1\n102,5,1\n103,1,3\n",
            Expected { makespan: 15.0, waits: [8.0, 9.0, 9.0, 9.0], utilisation: 100.0, infeasible: 1.0 },
        ),
        // The third would fit at once, but waits for the second, which is before it.
        (
            "arrival,duration,CPU\n2,1,1\n0,10,1\n1,1,2\n",
            Expected { makespan: 12.0, waits: [9.0, 9.0, 9.0, 9.0], utilisation: 1300.0 / 24.0, infeasible: 0.0 },
        ),
        (
            "arrival,duration,CPU\n5,0,2\n5,0,2\n5,0,2\n",
            Expected { makespan: 0.0, waits: [0.0; 4], utilisation: 0.0, infeasible: 0.0 },
        ),
    ];
    for (tasks, expected) in cases {
        let json = Case::new(nodes, tasks).json(&["--queue", "--arrivals", "0", "--seeds", "2"]);
        for (name, policy) in json["policies"].as_object().unwrap() {
            let queue = &policy["queue"];
            assert_eq!(queue["makespan_seconds"], expected.makespan, "{name} {tasks}");
            for (percentile, wait) in ["p50", "p90", "p99", "max"].into_iter().zip(expected.waits) {
                assert_eq!(queue["wait_seconds"][percentile], wait, "{name} {percentile} {tasks}");
            }
            assert_close(&queue["utilisation"]["CPU"], expected.utilisation, 1e-6);
            assert_eq!(queue["infeasible"], expected.infeasible, "{name} {tasks}");
            assert_eq!(queue["placed"], 4.0 - f64::from(u8::from(tasks.lines().count() < 5)) - expected.infeasible);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let nodes: String = (0..12).map(|node| format!("n{node},{},{}\n", 4 + node % 3, node % 4)).collect();
    let tasks: String = (0..40).map(|task| format!("{task},{},{},{}\n", task % 7, 1 + task % 3, task % 2)).collect();
    let case = Case::new(&format!("node,CPU,GPU\n{nodes}"), &format!("arrival,duration,CPU,GPU\n{tasks}"));
    let run = |seed: &str| {
        let arguments = ["--churn", "0.9", "--warmup", "50", "--measured", "200", "--queue", "--seeds", "2"];
        let mut json = case.json(&[&arguments[..], &["--seed", seed]].concat());
        for (_, policy) in json["policies"].as_object_mut().unwrap() {
            policy["decisions_per_second"].take();
        }
        json["policies"].take()
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn table_json_and_plot_are_written() {
    let case = Case::new("node,CPU\na,10\n", "CPU\n3\n2\n");
    let output = case.run(&["--policy", "random, first-fit,random", "--json", "out.json", "--plot", "out.svg"]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    for word in [
        "1 node, 2 tasks with 2 distinct demands",
        "scarcest: CPU",
        "at 130",
        "first-fit",
        "1st rejection",
        "decisions/s",
        "±",
    ] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    let json: Value = serde_json::from_slice(&fs::read(case.path("out.json")).unwrap()).unwrap();
    let names: Vec<&String> = json["policies"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["random", "first-fit"]);
    let svg = fs::read_to_string(case.path("out.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("first-fit") && svg.contains("CPU allocated"), "{svg}");
}

#[test]
fn the_json_has_the_documented_keys_each_with_its_deviation() {
    let case = Case::new("node,CPU,GPU\na,10,2\n", "arrival,duration,CPU,GPU\n0,1,1,1\n1,1,1,0.5\n");
    let arguments = ["--policy", "binpack", "--churn", "1", "--warmup", "10", "--measured", "50", "--queue"];
    let json = case.json(&arguments);
    assert!(json["version"].is_string() && json["configuration"].is_object());
    let policy = &json["policies"]["binpack"];
    let resources = &["GPU", "CPU"][..];
    let waits = &["p50", "p90", "p99", "max"][..];
    let cases: [(&str, &[&str]); 13] = [
        ("/allocated", resources),
        ("/allocated/GPU", &["90", "95", "100", "115", "130"]),
        ("/first_rejection", &[]),
        ("/placed", &[]),
        ("/rejected", &[]),
        ("/blocked", resources),
        ("/blocked_largest", &[]),
        ("/utilisation", resources),
        ("/offered", &[]),
        ("/queue/makespan_seconds", &[]),
        ("/queue/wait_seconds", waits),
        ("/queue/placed", &[]),
        ("/queue/infeasible", &[]),
    ];
    let deviation = |path: &str| match path.strip_prefix("/allocated/") {
        Some(resource) => format!("/allocated_deviation/{resource}"),
        None => format!("{path}_deviation"),
    };
    for (path, keys) in cases {
        for path in [path.to_owned(), deviation(path)] {
            let value = policy.pointer(&path).unwrap_or(&Value::Null);
            let found: Vec<&String> = value.as_object().into_iter().flat_map(|object| object.keys()).collect();
            assert!(value.is_number() || value.is_object(), "{path}: {policy:#}");
            assert_eq!(found, keys, "{path}");
        }
    }
    let over_time = &policy["queue"]["utilisation_over_time"];
    assert!(over_time["step_seconds"].is_number() && over_time["shares"]["CPU"][0].is_number(), "{over_time}");
    assert!(policy["queue"]["utilisation"]["GPU"].is_number());
    assert!(policy["decisions"].is_u64() && policy["decisions_per_second"].is_number());
}

#[test]
fn files_that_make_no_sense_are_named_with_line_and_column() {
    let (nodes, tasks) = ("node,CPU\na,4\n", "CPU\n1\n");
    let cases: [(&str, &str, &[&str], &str); 14] = [
        ("", tasks, &[], "nodes.csv: line 1: the file is empty"),
        (nodes, "", &[], "tasks.csv: line 1: the file is empty"),
        (nodes, "CPU\n", &[], "tasks.csv: line 1: there are no tasks"),
        ("node,CPU\na,4\nb,many\n", tasks, &[], "nodes.csv: line 3, column 'CPU': 'many' is not a number"),
        ("node,CPU\na,-4\n", tasks, &[], "nodes.csv: line 2, column 'CPU': '-4' is negative"),
        (nodes, "CPU,GPU\n1\n", &[], "tasks.csv: line 2, column 'GPU': the line ends before this column"),
        (nodes, "CPU\nNaN\n", &[], "tasks.csv: line 2, column 'CPU': 'NaN' is not a finite number"),
        (nodes, "CPU\n1e300\n", &[], "tasks.csv: line 2, column 'CPU': '1e300' is too large"),
        (nodes, "arrival,duration,CPU\n0,-1,1\n", &[], "tasks.csv: line 2, column 'duration': '-1' is negative"),
        ("node,CPU\na,0\n", tasks, &[], "nodes.csv: the nodes have nothing"),
        (nodes, "GPU,x\n1,2\n", &[], "tasks.csv: the tasks ask for GPU, x alone, and the nodes in nodes.csv have CPU"),
        (nodes, "CPU\n0\n", &[], "tasks.csv: the tasks ask for nothing"),
        ("node,CPU\na,9e14\n", "CPU\n0.0001\n", &[], "tasks.csv: the tasks ask for so little CPU"),
        (nodes, tasks, &["--queue"], "tasks.csv: --queue needs columns arrival and duration"),
    ];
    for (nodes, tasks, arguments, message) in cases {
        Case::new(nodes, tasks).assert_refused(arguments, 1, message);
    }
    let case = Case::new(nodes, tasks);
    fs::remove_file(case.path("nodes.csv")).unwrap();
    case.assert_refused(&[], 1, "nodes.csv: ");
    fs::create_dir(case.path("nodes.csv")).unwrap();
    case.assert_refused(&[], 1, "nodes.csv: ");
}

#[test]
fn wrong_arguments_exit_with_2() {
    let case = Case::new("node,CPU\na,4\n", "CPU\n1\n");
    let cases: [(&[&str], &str); 17] = [
        (&["--policy", "best"], "there is no policy 'best'"),
        (&["--policy", ""], "there is no policy ''"),
        (&["--policy", "random,"], "there is no policy ''"),
        (&["--order", "size"], "'size' is not an order"),
        (&["--arrivals", "-1"], "'-1'"),
        (&["--arrivals", "NaN"], "'NaN'"),
        (&["--arrivals", "1e9"], "'1e9'"),
        (&["--arrivals", "0"], "nothing is left to run"),
        (&["--arrivals", "0", "--queue", "--plot", "x.svg"], "--plot"),
        (&["--churn", "0"], "'0' is not a load"),
        (&["--churn", "-0.5"], "'-0.5' is not a load"),
        (&["--churn", "inf"], "'inf' is not a load"),
        (&["--churn", "1", "--measured", "0"], "--measured"),
        (&["--churn", "1", "--warmup", "1e9"], "'1e9'"),
        (&["--seeds", "0"], "'0'"),
        (&["--seed", "18446744073709551615"], "--seed is too large"),
        (&["--seeds", "99999999999"], "--seeds"),
    ];
    for (arguments, message) in cases {
        case.assert_refused(arguments, 2, message);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_computed() {
    let case = Case::new("node,CPU\na,4\n", "CPU\n1\n");
    for flag in ["--json", "--plot"] {
        // Days of work.
        let arguments = ["--churn", "1", "--measured", "100000000", "--seeds", "1000000", flag, "missing/out"];
        case.assert_refused(&arguments, 1, "cannot write missing/out");
    }
    // What an earlier run has written is still there when this one fails.
    fs::write(case.path("out.json"), "earlier").unwrap();
    case.assert_refused(&["--json", "out.json", "--plot", "missing/out"], 1, "cannot write missing/out");
    assert_eq!(fs::read_to_string(case.path("out.json")).unwrap(), "earlier");
}

#[test]
fn all_is_every_policy_once() {
    let case = Case::new("node,CPU\na,4\n", "CPU\n1\n");
    let names = |arguments: &[&str]| -> Vec<String> {
        let json = case.json(&[&["--seeds", "1"], arguments].concat());
        json["policies"].as_object().unwrap().keys().cloned().collect()
    };
    let all = names(&[]);
    assert_eq!(all.len(), 12);
    assert_eq!(names(&["--policy", "all"]), all);
    let mixed = names(&["--policy", "random,all,first-fit"]);
    assert_eq!((mixed.len(), mixed[0].as_str()), (12, "random"));
}

#[test]
fn what_no_node_has_is_named_beside_what_the_nodes_have() {
    let case = Case::new("node,CPU,memory\na,4,1\n", "CPU,gpu\n1,1\n2,0\n");
    let output = Command::new(env!("CARGO_BIN_EXE_external-scheduler"))
        .current_dir(case.folder.path())
        .env_remove("RUST_LOG")
        .args(["replay", "--nodes", "nodes.csv", "--tasks", "tasks.csv", "--policy", "random"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("tasks ask for gpu, which no node has: they fit nowhere (the nodes have CPU, memory)"),
        "{stderr}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_table_that_is_lost_is_a_failure() {
    let case = Case::new("node,CPU\na,4\n", "CPU\n1\n");
    let output = Command::new(env!("CARGO_BIN_EXE_external-scheduler"))
        .current_dir(case.folder.path())
        .args(["replay", "--nodes", "nodes.csv", "--tasks", "tasks.csv", "--policy", "random"])
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let case = Case::new("node,CPU\na,4\n", "CPU\n1\n");
    for arguments in [&["--policy", "random"][..], &["--policy", "random", "--json", "-"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_external-scheduler"))
            .current_dir(case.folder.path())
            .args(["replay", "--nodes", "nodes.csv", "--tasks", "tasks.csv"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

//! A trace: the nodes of a cluster, and the tasks that arrive there.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::csv_table::{CsvFile, FileError, Table};
use crate::scheduler::amount::Amount;
use crate::wire::resources::{self, Meaning, Resources};

/// Index of a resource in [`Trace::resources`].
pub type ResourceIndex = usize;

/// Amounts above 0 of distinct resources, in the order of their indices.
pub type Amounts = Vec<(ResourceIndex, Amount)>;

/// Something that tasks ask for.
#[derive(Clone, Debug)]
pub struct Demand {
    pub amounts: Amounts,
    /// The same as a list of resources on the wire.
    bytes: Vec<u8>,
}

impl Demand {
    /// The demand as the scheduler takes it.
    pub fn resources(&self) -> Resources<'_> {
        // It was checked when it was read.
        Resources::parse(&self.bytes, Meaning::Demand).unwrap_or(Resources::EMPTY)
    }

    /// How much is asked for of a resource.
    pub fn amount(&self, resource: ResourceIndex) -> Amount {
        self.amounts.iter().find(|entry| entry.0 == resource).map_or(Amount::ZERO, |entry| entry.1)
    }
}

/// When a task came, and how long it ran, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub arrival: f64,
    pub duration: f64,
}

/// A task.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Index in [`Trace::demands`].
    pub demand: usize,
    /// As far as the file has them: for all tasks or for none.
    pub times: Option<Times>,
}

/// The nodes of a cluster, and the tasks that arrive there.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Names of resources, those of the nodes first.
    pub resources: Vec<String>,
    /// What each node has.
    pub nodes: Vec<Amounts>,
    /// What tasks ask for, each distinct demand once.
    pub demands: Vec<Demand>,
    /// In the order of the file.
    pub tasks: Vec<Task>,
    /// What all nodes have together, in units of [`Amount`], by resource.
    pub capacity: Vec<i128>,
    /// What all tasks ask for together, in units of [`Amount`], by resource.
    pub asked: Vec<i128>,
}

const NODE: &str = "node";
const ARRIVAL: &str = "arrival";
const DURATION: &str = "duration";
const TIMES: [&str; 2] = [ARRIVAL, DURATION];

/// The names that Ray has for the resources of the openb trace.
const OPENB_RESOURCES: [&str; 3] = ["CPU", "memory", "GPU"];

/// Wholes a thousandth, and bytes a MiB.
const MILLI: f64 = 1e-3;
const MIB: f64 = (1 << 20) as f64;

impl Trace {
    /// Reads the files of nodes and tasks, each in either format.
    ///
    /// # Errors
    /// When one of them has neither format, a value that makes no sense, or no rows.
    pub fn read(nodes: &CsvFile, tasks: &CsvFile) -> Result<Self, FileError> {
        let mut trace = Self::default();
        let mut table = nodes.table()?;
        if table.column("cpu_milli").is_some() {
            trace.read_openb_nodes(&mut table)?;
        } else if table.column(NODE).is_some() {
            trace.read_nodes(&mut table)?;
        } else {
            return Err(table.missing_column(NODE, ", and so are those of the openb trace"));
        }
        if trace.nodes.is_empty() {
            return Err(table.error_at(1, None, "there are no nodes"));
        }

        let mut demands = HashMap::default();
        let mut table = tasks.table()?;
        if table.column("cpu_milli").is_some() {
            trace.read_openb_tasks(&mut table, &mut demands)?;
        } else {
            trace.read_tasks(&mut table, &mut demands)?;
        }
        if trace.tasks.is_empty() {
            return Err(table.error_at(1, None, "there are no tasks"));
        }
        trace.add_up();
        Ok(trace)
    }

    /// The resource that runs out first: of those that some node has, the one that the tasks ask for most of relative to
    /// what there is. `None` where they ask for none of them.
    pub fn scarcest(&self) -> Option<ResourceIndex> {
        let is_contested = |&resource: &ResourceIndex| self.capacity[resource] > 0 && self.asked[resource] > 0;
        let scarcity = |resource: ResourceIndex| self.asked[resource] as f64 / self.capacity[resource] as f64;
        let contested = (0..self.resources.len()).filter(is_contested);
        contested.reduce(|first, other| if scarcity(other) > scarcity(first) { other } else { first })
    }

    /// What tasks ask for and no node has.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let is_missing = |&resource: &ResourceIndex| self.capacity[resource] == 0 && self.asked[resource] > 0;
        (0..self.resources.len()).filter(is_missing).map(|resource| self.resources[resource].as_str())
    }

    /// The resources that some node has.
    pub fn present(&self) -> impl Iterator<Item = ResourceIndex> {
        (0..self.resources.len()).filter(|&resource| self.capacity[resource] > 0)
    }

    /// Whether the file says when tasks came and how long they ran.
    pub fn has_times(&self) -> bool {
        self.tasks.first().is_some_and(|task| task.times.is_some())
    }

    fn read_openb_nodes(&mut self, table: &mut Table<'_>) -> Result<(), FileError> {
        let [cpu, memory, gpu] =
            [table.required_column("cpu_milli")?, table.required_column("memory_mib")?, table.required_column("gpu")?];
        let resources = self.intern_openb();
        while table.advance()? {
            let amounts = [table.amount(cpu, MILLI)?, table.amount(memory, MIB)?, table.amount(gpu, 1.0)?];
            self.nodes.push(positive(resources.into_iter().zip(amounts)));
        }
        Ok(())
    }

    fn read_nodes(&mut self, table: &mut Table<'_>) -> Result<(), FileError> {
        let name_column = table.required_column(NODE)?;
        let columns = self.resource_columns(table, &[NODE])?;
        let mut names = HashSet::new();
        while table.advance()? {
            let name = table.field(name_column);
            if name.is_empty() {
                return Err(table.error(name_column, "this node has no name"));
            }
            if !names.insert(name.to_owned()) {
                return Err(table.error(name_column, &format!("'{}' is there twice", table.shown(name_column))));
            }
            self.nodes.push(amounts(table, &columns, &[NODE])?);
        }
        Ok(())
    }

    fn read_openb_tasks(&mut self, table: &mut Table<'_>, demands: &mut DemandIndex) -> Result<(), FileError> {
        let [cpu, memory] = [table.required_column("cpu_milli")?, table.required_column("memory_mib")?];
        let [gpus, gpu_part] = [table.required_column("num_gpu")?, table.required_column("gpu_milli")?];
        let times = table.column("creation_time").zip(table.column("deletion_time"));
        let started = table.column("scheduled_time");
        let resources = self.intern_openb();
        while table.advance()? {
            let gpu = table.amount(gpu_part, MILLI * table.number(gpus)?)?;
            let amounts =
                positive(resources.into_iter().zip([table.amount(cpu, MILLI)?, table.amount(memory, MIB)?, gpu]));
            let times = match times {
                Some((creation, deletion)) => Some(openb_times(table, creation, deletion, started)?),
                None => None,
            };
            self.add_task(table, amounts, times, demands)?;
        }
        Ok(())
    }

    fn read_tasks(&mut self, table: &mut Table<'_>, demands: &mut DemandIndex) -> Result<(), FileError> {
        let times = match (table.column(ARRIVAL), table.column(DURATION)) {
            (Some(arrival), Some(duration)) => Some((arrival, duration)),
            (None, None) => None,
            (Some(_), None) => return Err(table.error_at(1, Some(DURATION), "'arrival' is there, this column is not")),
            (None, Some(_)) => return Err(table.error_at(1, Some(ARRIVAL), "'duration' is there, this column is not")),
        };
        let columns = self.resource_columns(table, &TIMES)?;
        while table.advance()? {
            let times = match times {
                Some((arrival, duration)) => {
                    Some(Times { arrival: table.seconds(arrival)?, duration: table.seconds(duration)? })
                }
                None => None,
            };
            self.add_task(table, amounts(table, &columns, &TIMES)?, times, demands)?;
        }
        Ok(())
    }

    fn add_task(
        &mut self,
        table: &Table<'_>,
        amounts: Amounts,
        times: Option<Times>,
        demands: &mut DemandIndex,
    ) -> Result<(), FileError> {
        let demand = match demands.get(&amounts) {
            Some(&demand) => demand,
            None => {
                let mut bytes = Vec::new();
                for &(resource, amount) in &amounts {
                    resources::append(&mut bytes, self.resources[resource].as_bytes(), amount);
                }
                if let Err(error) = Resources::parse(&bytes, Meaning::Demand) {
                    return Err(table.error(0, error.as_str()));
                }
                demands.insert(amounts.clone(), self.demands.len());
                self.demands.push(Demand { amounts, bytes });
                self.demands.len() - 1
            }
        };
        self.tasks.push(Task { demand, times });
        Ok(())
    }

    /// The columns that are resources: all but some.
    fn resource_columns(
        &mut self,
        table: &Table<'_>,
        others: &[&str],
    ) -> Result<Vec<(usize, ResourceIndex)>, FileError> {
        let mut columns = Vec::new();
        for (column, name) in table.header().iter().enumerate() {
            if others.contains(&name.as_str()) {
                continue;
            }
            if let Some(other) = others.iter().find(|other| other.eq_ignore_ascii_case(name)) {
                return Err(table.error_at(1, Some(name), &format!("write it '{other}'")));
            }
            // The scheduler would take a zero for the end of a name, and a terminal obeys other control characters.
            if name.contains(char::is_control) || name.len() > resources::KEY_LENGTH_MAX {
                return Err(table.error_at(1, Some(name), "this cannot be the name of a resource"));
            }
            columns.push((column, self.intern(name)));
        }
        if columns.is_empty() {
            return Err(table.error_at(1, None, "no column is a resource: give one like CPU"));
        }
        Ok(columns)
    }

    fn intern(&mut self, name: &str) -> ResourceIndex {
        self.resources.iter().position(|other| other == name).unwrap_or_else(|| {
            self.resources.push(name.to_owned());
            self.resources.len() - 1
        })
    }

    fn intern_openb(&mut self) -> [ResourceIndex; 3] {
        OPENB_RESOURCES.map(|name| self.intern(name))
    }

    fn add_up(&mut self) {
        self.capacity = vec![0; self.resources.len()];
        self.asked = vec![0; self.resources.len()];
        for &(resource, amount) in self.nodes.iter().flatten() {
            self.capacity[resource] += i128::from(amount.units());
        }
        for task in &self.tasks {
            for &(resource, amount) in &self.demands[task.demand].amounts {
                self.asked[resource] += i128::from(amount.units());
            }
        }
    }
}

type DemandIndex = HashMap<Amounts, usize, RandomState>;

/// The amounts of a row; an empty field is no amount. `others` are the columns that are no resources.
fn amounts(table: &Table<'_>, columns: &[(usize, ResourceIndex)], others: &[&str]) -> Result<Amounts, FileError> {
    let mut row = Vec::with_capacity(columns.len());
    for &(column, resource) in columns {
        let field = table.field(column);
        if field.is_empty() {
            continue;
        }
        if field.parse::<f64>().is_err() {
            let others = others.join(" and ");
            let message = format!("'{}' is not a number: every column but {others} is a resource", table.shown(column));
            return Err(table.error(column, &message));
        }
        row.push((resource, table.amount(column, 1.0)?));
    }
    Ok(positive(row.into_iter()))
}

fn positive(amounts: impl Iterator<Item = (ResourceIndex, Amount)>) -> Amounts {
    let mut positive: Amounts = amounts.filter(|&(_, amount)| amount > Amount::ZERO).collect();
    positive.sort_unstable_by_key(|&(resource, _)| resource);
    positive
}

/// A pod came when it was created, and ran from when it was scheduled, as far as it was, until it was deleted.
fn openb_times(
    table: &Table<'_>,
    creation: usize,
    deletion: usize,
    scheduled: Option<usize>,
) -> Result<Times, FileError> {
    let arrival = table.seconds(creation)?;
    let start = match scheduled.filter(|&column| !table.field(column).is_empty()) {
        Some(column) => table.seconds(column)?,
        None => arrival,
    };
    let duration = table.seconds(deletion)? - start;
    if duration < 0.0 {
        return Err(table.error(deletion, "the pod ends before it starts"));
    }
    Ok(Times { arrival, duration })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(nodes: &str, tasks: &str) -> Result<Trace, String> {
        Trace::read(&CsvFile::new("n.csv", nodes), &CsvFile::new("t.csv", tasks)).map_err(|error| error.to_string())
    }

    fn listed(trace: &Trace, amounts: &Amounts) -> Vec<(String, f64)> {
        amounts.iter().map(|&(resource, amount)| (trace.resources[resource].clone(), amount.to_f64())).collect()
    }

    #[test]
    fn the_openb_format_is_read() {
        let trace = read(
            "sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\nb,32500,1,0,\n",
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
             p,12000,16384,1,460,V100M16|V100M32,LS,Running,10,100,30\n\
             q,500,0,2,1000,,LS,Pending,20,21,\n\
             r,12000,16384,1,460,,LS,Running,30,30,30\n",
        )
        .unwrap();
        let of = |name: &str, amount: f64| (name.to_owned(), amount);
        let gibibyte = f64::from(1 << 30);
        assert_eq!(trace.resources, ["CPU", "memory", "GPU"]);
        assert_eq!(listed(&trace, &trace.nodes[0]), [of("CPU", 64.0), of("memory", 256.0 * gibibyte), of("GPU", 2.0)]);
        assert_eq!(listed(&trace, &trace.nodes[1]), [of("CPU", 32.5), of("memory", MIB)]);
        assert_eq!(trace.demands.len(), 2);
        assert_eq!(
            listed(&trace, &trace.demands[0].amounts),
            [of("CPU", 12.0), of("memory", 16.0 * gibibyte), of("GPU", 0.46)]
        );
        assert_eq!(listed(&trace, &trace.demands[1].amounts), [of("CPU", 0.5), of("GPU", 2.0)]);
        let times: Vec<_> = trace.tasks.iter().map(|task| task.times.unwrap()).collect();
        assert_eq!(times[0], Times { arrival: 10.0, duration: 70.0 });
        assert_eq!(times[1], Times { arrival: 20.0, duration: 1.0 });
        assert_eq!(times[2], Times { arrival: 30.0, duration: 0.0 });
        assert_eq!(trace.demands[0].resources().count(), 3);
    }

    #[test]
    fn the_own_format_is_read() {
        let trace = read("node,CPU,µ\na,4,\nb,0,2.5\n", "µ,arrival,duration\n1,0,5.5\n,1,0\n").unwrap();
        assert_eq!(trace.resources, ["CPU", "µ"]);
        assert_eq!(listed(&trace, &trace.nodes[0]), [("CPU".to_owned(), 4.0)]);
        assert_eq!(listed(&trace, &trace.nodes[1]), [("µ".to_owned(), 2.5)]);
        assert!(trace.has_times() && trace.demands[1].amounts.is_empty());
        assert_eq!(trace.tasks[0].times, Some(Times { arrival: 0.0, duration: 5.5 }));
        assert!(!read("node,CPU\na,4\n", "CPU\n1\n").unwrap().has_times());
    }

    #[test]
    fn the_scarcest_is_what_is_asked_for_most_relative_to_what_there_is() {
        let nodes = "node,CPU,GPU\na,10,2\nb,10,0\n";
        let cases: [(&str, Option<&str>, &[&str]); 5] = [
            ("CPU,GPU\n2,1\n4,0\n", Some("GPU"), &[]),
            ("CPU,GPU\n11,1\n0,0\n", Some("CPU"), &[]),
            ("CPU,TPU\n1,100\n", Some("CPU"), &["TPU"]),
            ("TPU,x\n1,0\n", None, &["TPU"]),
            ("CPU\n0\n", None, &[]),
        ];
        for (tasks, scarcest, missing) in cases {
            let trace = read(nodes, tasks).unwrap();
            assert_eq!(trace.scarcest().map(|resource| trace.resources[resource].as_str()), scarcest, "{tasks}");
            assert_eq!(trace.missing().collect::<Vec<_>>(), missing, "{tasks}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let nodes = "node,CPU\na,1\n";
        let openb = "cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\n";
        let cases: [(&str, &str, &str); 23] = [
            ("", "CPU\n1\n", "n.csv: line 1: the file is empty: it needs a line of column names"),
            ("node,CPU\n", "CPU\n1\n", "n.csv: line 1: there are no nodes"),
            (nodes, "CPU\n", "t.csv: line 1: there are no tasks"),
            (
                "CPU\n1\n",
                "CPU\n1\n",
                "n.csv: line 1, column 'node': this column is missing, and so are those of the openb trace: there is 'CPU'",
            ),
            (
                "node;CPU\na;1\n",
                "CPU\n1\n",
                "n.csv: line 1, column 'node': this column is missing, and so are those of the openb trace: there is 'node;CPU'",
            ),
            (
                nodes,
                "id,CPU\njob-1,1\n",
                "t.csv: line 2, column 'id': 'job-1' is not a number: every column but arrival and duration is a resource",
            ),
            (
                "node,zone\na,west\n",
                "CPU\n1\n",
                "n.csv: line 2, column 'zone': 'west' is not a number: every column but node is a resource",
            ),
            (nodes, "Arrival,Duration,CPU\n0,1,1\n", "t.csv: line 1, column 'Arrival': write it 'arrival'"),
            (nodes, "arrival,duration,ARRIVAL\n0,1,1\n", "t.csv: line 1, column 'ARRIVAL': write it 'arrival'"),
            ("node,CPU\n,1\n", "CPU\n1\n", "n.csv: line 2, column 'node': this node has no name"),
            (
                nodes,
                "CPU,arrival,duration\n1,12:30,1\n",
                "t.csv: line 2, column 'arrival': '12:30' is not a number of seconds",
            ),
            ("node\na\n", "CPU\n1\n", "n.csv: line 1: no column is a resource: give one like CPU"),
            (nodes, "arrival,duration\n1,1\n", "t.csv: line 1: no column is a resource: give one like CPU"),
            (nodes, "arrival,CPU\n1,1\n", "t.csv: line 1, column 'duration': 'arrival' is there, this column is not"),
            (nodes, "CPU,duration\n1,1\n", "t.csv: line 1, column 'arrival': 'duration' is there, this column is not"),
            ("node,CPU\na,1\na,1\n", "CPU\n1\n", "n.csv: line 3, column 'node': 'a' is there twice"),
            ("node,CPU\na,-1\n", "CPU\n1\n", "n.csv: line 2, column 'CPU': '-1' is negative: give 0 or more"),
            (
                nodes,
                "CPU,arrival,duration\n1,-1,1\n",
                "t.csv: line 2, column 'arrival': '-1' is negative: give 0 or more",
            ),
            (nodes, "CPU,arrival,duration\n1,1,\n", "t.csv: line 2, column 'duration': there is no number"),
            (
                nodes,
                "CPU,arrival,duration\n1,1,1e13\n",
                "t.csv: line 2, column 'duration': '1e13' seconds are too many: give at most 1e12",
            ),
            (
                "sn,cpu_milli,gpu\na,1,1\n",
                "CPU\n1\n",
                "n.csv: line 1, column 'memory_mib': this column is missing: there is 'sn,cpu_milli,gpu'",
            ),
            (
                nodes,
                &format!("{openb}1,1,1e9,1e15,0,1\n"),
                "t.csv: line 2, column 'gpu_milli': '1e15' is too large: give at most 9.2e8",
            ),
            (
                nodes,
                &format!("{openb}1,1,0,0,5,4\n"),
                "t.csv: line 2, column 'deletion_time': the pod ends before it starts",
            ),
        ];
        for (nodes, tasks, expected) in cases {
            assert_eq!(read(nodes, tasks).err().as_deref(), Some(expected), "{nodes:?} {tasks:?}");
        }
    }

    #[test]
    fn names_that_the_protocol_cannot_carry_are_refused() {
        for name in ["a\0b".to_owned(), "a\u{1b}b".to_owned(), "k".repeat(resources::KEY_LENGTH_MAX + 1)] {
            let error = read(&format!("node,{name}\na,1\n"), "CPU\n1\n").unwrap_err();
            assert!(error.ends_with("this cannot be the name of a resource"), "{error}");
        }
    }
}

use std::{collections::BTreeMap, convert::Infallible};

use interdict_abi::ids::Fact;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const POD: &str = "kubepods.slice/kubepods-pod1a2b3c4d_0000_1111_2222_333344445555.slice";

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<u64, Workload>>>);

impl Rows for Memory {
    type Error = Infallible;

    fn put(&mut self, cgroup: u64, row: &Workload) -> Result<(), Infallible> {
        self.0.lock().unwrap().insert(cgroup, *row);
        Ok(())
    }

    fn remove(&mut self, cgroup: u64) {
        self.0.lock().unwrap().remove(&cgroup);
    }

    fn cgroups(&self) -> Vec<u64> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

impl Memory {
    fn namespace(&self, cgroup: u64) -> Option<Result<String, u32>> {
        let rows = self.0.lock().unwrap();
        let row = rows.get(&cgroup)?;
        let field = row.fields[Fact::PodNamespace as usize - Fact::PLACES[0] as usize];
        if field & Workload::TEXT == 0 {
            return Some(Err(field));
        }
        let text = &row.text[(field & !Workload::TEXT) as usize..];
        let end = text.iter().position(|byte| *byte == 0).unwrap();
        Some(Ok(String::from_utf8(text[..end].to_vec()).unwrap()))
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

struct Ground {
    root: tempfile::TempDir,
    memory: Memory,
    state: State<Memory>,
    now: Instant,
}

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("cgroup")).unwrap();
        let files = RuntimeFiles::new(root.path().join("host"));
        let memory = Memory::default();
        let state = State::new(root.path().join("cgroup"), files, memory.clone());
        Self { root, memory, state, now: Instant::now() }
    }

    fn cgroup(&self, path: &str) -> u64 {
        let path = self.root.path().join("cgroup").join(path);
        fs::create_dir_all(&path).unwrap();
        fs::metadata(path).unwrap().ino()
    }

    fn name(&self, id: &str, namespace: &str) {
        let folder = "host/run/containerd/io.containerd.runtime.v2.task/k8s.io";
        let folder = self.root.path().join(folder).join(id);
        fs::create_dir_all(&folder).unwrap();
        let text = format!(
            r#"{{"annotations":{{"io.kubernetes.cri.sandbox-namespace":"{namespace}","io.kubernetes.cri.sandbox-name":"p"}}}}"#
        );
        fs::write(folder.join("config.json"), text).unwrap();
    }

    fn step(&mut self) {
        self.state.step(self.now);
    }
}

fn scope(id: &str) -> String {
    format!("{POD}/cri-containerd-{id}.scope")
}

#[test]
fn a_container_that_was_there_has_its_row_and_the_host_too() {
    let mut ground = Ground::new();
    let cgroup = ground.cgroup(&scope(ID));
    ground.cgroup("system.slice/ssh.service");
    ground.name(ID, "shop");
    ground.state.walk(ground.now);
    assert_eq!(ground.memory.namespace(cgroup), Some(Ok("shop".to_owned())));
    assert_eq!(ground.memory.namespace(Workload::HOST), Some(Err(Workload::ABSENT)));
    assert_eq!(ground.memory.count(), 2, "nothing else has one");
}

#[test]
fn a_container_has_its_row_as_soon_as_its_cgroup_is_made_and_none_when_that_is_gone() {
    let mut ground = Ground::new();
    ground.state.walk(ground.now);
    ground.name(ID, "shop");
    let cgroup = ground.cgroup(&scope(ID));
    ground.step();
    assert_eq!(ground.memory.namespace(cgroup), Some(Ok("shop".to_owned())));
    // In a directory that was made and watched meanwhile.
    ground.name(OTHER, "ops");
    let other = ground.cgroup(&scope(OTHER));
    ground.step();
    assert_eq!(ground.memory.namespace(other), Some(Ok("ops".to_owned())));
    fs::remove_dir(ground.root.path().join("cgroup").join(scope(ID))).unwrap();
    ground.step();
    assert_eq!(ground.memory.namespace(cgroup), None);
    assert_eq!(ground.memory.namespace(other), Some(Ok("ops".to_owned())));
}

#[test]
fn names_that_come_later_are_looked_for_again() {
    let mut ground = Ground::new();
    let cgroup = ground.cgroup(&scope(ID));
    ground.state.walk(ground.now);
    assert_eq!(ground.memory.namespace(cgroup), Some(Err(Workload::UNKNOWN)));
    assert!(ground.state.pause(ground.now) <= LOOK_EVERY);
    ground.name(ID, "shop");
    ground.now += LOOK_EVERY / 2;
    ground.step();
    assert_eq!(ground.memory.namespace(cgroup), Some(Err(Workload::UNKNOWN)), "not yet due");
    ground.now += LOOK_EVERY;
    ground.step();
    assert_eq!(ground.memory.namespace(cgroup), Some(Ok("shop".to_owned())));
}

#[test]
fn what_a_container_makes_below_itself_is_no_container() {
    let mut ground = Ground::new();
    ground.name(ID, "shop");
    ground.name(OTHER, "ops");
    let outer = ground.cgroup(&scope(ID));
    let inner = ground.cgroup(&format!("{}/cri-containerd-{OTHER}.scope", scope(ID)));
    ground.state.walk(ground.now);
    assert_eq!(ground.memory.namespace(outer), Some(Ok("shop".to_owned())));
    assert_eq!(ground.memory.namespace(inner), None);
}

#[test]
fn rows_that_an_earlier_agent_left_of_what_is_gone_are_removed() {
    let mut ground = Ground::new();
    ground.memory.clone().put(4_711, &Workload::NOTHING).unwrap();
    ground.state.walk(ground.now);
    assert_eq!(ground.memory.0.lock().unwrap().keys().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn other_rows_get_everything_that_is_known() {
    let ground = Ground::new();
    let cgroup = ground.cgroup(&scope(ID));
    ground.name(ID, "shop");
    let files = RuntimeFiles::new(ground.root.path().join("host"));
    let root = ground.root.path().join("cgroup");
    let workloads = Workloads::start(root, files, ground.memory.clone()).unwrap();
    let elsewhere = Memory::default();
    workloads.move_to(elsewhere.clone());
    assert_eq!(elsewhere.namespace(cgroup), Some(Ok("shop".to_owned())));
    assert_eq!(elsewhere.namespace(Workload::HOST), Some(Err(Workload::ABSENT)));
}

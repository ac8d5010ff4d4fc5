//! What holds of every history that was read, wherever it came from.

use pgworkflows::history::History;

/// Shows a history, and writes it to a file and reads that.
pub(crate) fn written_and_read(history: &History) {
    // An event that cannot be read is shown as such, and hides no other one.
    let shown = history.to_string();
    let lines = shown.lines().count();
    assert!(lines >= history.len(), "{lines} lines for {} events", history.len());
    assert!(format!("{history:#}").len() >= shown.len());
    let decoded = history.events();
    let file = serde_json::to_string(history).expect("a history can be written");
    let read: History = match serde_json::from_str(&file) {
        Ok(read) => read,
        // A file has times of the years that RFC 3339 knows.
        Err(error) if error.to_string().contains("is not a time") => return,
        Err(error) => panic!("{error}: {file}"),
    };
    assert_eq!(read, *history);
    assert_eq!(read.events().is_ok(), decoded.is_ok());
    assert_eq!(read.workflow(), history.workflow());
}

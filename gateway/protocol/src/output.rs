//! An output on its way into an answer.

use weighbridge_config::Tensor;

use crate::write::{self, Style};

/// A named tensor; with labels, its last axis is also written by label.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    pub name: &'a str,
    pub tensor: &'a Tensor,
    /// Whether a `/v2` answer carries it as bytes.
    pub binary: bool,
    /// Names of the elements of each row of a `[rows, labels]` tensor; empty when the answer
    /// shall not name them.
    labels: &'a [String],
}

impl<'a> From<(&'a str, &'a Tensor)> for Output<'a> {
    fn from((name, tensor): (&'a str, &'a Tensor)) -> Self {
        Self { name, tensor, binary: false, labels: &[] }
    }
}

impl<'a> Output<'a> {
    /// The same output, with its elements named if each row has as many.
    pub fn labelled(mut self, labels: &'a [String]) -> Self {
        if matches!(self.tensor.shape(), [_, columns] if *columns == labels.len()) {
            self.labels = labels;
        }
        self
    }

    /// The same output, as bytes if `binary`.
    pub fn as_binary(self, binary: bool) -> Self {
        Self { binary, ..self }
    }

    pub(crate) fn is_labelled(&self) -> bool {
        !self.labels.is_empty()
    }

    /// The name of column `index`, if the columns have names.
    pub(crate) fn label(&self, index: usize) -> Option<&'a str> {
        self.labels.get(index).map(String::as_str)
    }

    /// One object per row: `[{"a":0.9,"b":0.1}]`.
    pub(crate) fn write_by_label(&self, out: &mut Vec<u8>, style: Style) {
        out.push(b'[');
        for row in 0..self.tensor.rows() {
            if row > 0 {
                out.push(b',');
            }
            self.write_row_by_label(out, row, style);
        }
        out.push(b']');
    }

    /// `{"a":0.9,"b":0.1}`
    pub(crate) fn write_row_by_label(&self, out: &mut Vec<u8>, row: usize, style: Style) {
        out.push(b'{');
        for (column, label) in self.labels.iter().enumerate() {
            if column > 0 {
                out.push(b',');
            }
            write::string(out, label);
            out.push(b':');
            let place = row * self.labels.len() + column;
            write::nested(out, &[], self.tensor.data(), place, style);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_config::TensorData;

    use super::*;

    #[test]
    fn rows_are_written_by_label_where_each_has_as_many_elements() {
        let labels = ["a \"b\"".to_owned(), "c".to_owned()];
        let scores = TensorData::Fp32(vec![0.25, f32::NAN, 1.0, 0.0]);
        let scores = Tensor::new(vec![2, 2], scores).unwrap();
        let output = Output::from(("p", &scores)).labelled(&labels);
        let mut out = Vec::new();
        output.write_by_label(&mut out, Style::default());
        let wanted = r#"[{"a \"b\"":0.25,"c":null},{"a \"b\"":1.0,"c":0.0}]"#;
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
        let column = Tensor::new(vec![2], TensorData::Int64(vec![0, 1])).unwrap();
        assert!(!Output::from(("y", &column)).labelled(&labels).is_labelled());
    }
}

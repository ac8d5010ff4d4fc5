//! Arrays of fields, in which everything is stored, and the trait of a field's type. It must not know which event has
//! which fields.
//!
//! A field with its default value is stored as null, and left out at the end of its array. So common events stay tiny and
//! fields can be added: a body of an older build lacks the new field, and a body of a newer build with an unknown field
//! is refused, never misread.

use super::cbor::{Decoded, Fault, Reader, Writer};

/// A type that a field can have.
pub(super) trait Part: Sized {
    /// Writes the value: one CBOR item.
    fn write(&self, to: &mut Writer);

    /// Reads a value.
    fn read(from: &mut Reader<'_>) -> Decoded<Self>;

    /// The value of a null or missing field; `None` if the field is required. It must never change, because bodies are
    /// stored without it.
    fn absent() -> Option<Self> {
        None
    }
}

/// Writes the fields of one array.
pub(super) struct FieldsWriter<'w> {
    to: &'w mut Writer,
    fields: u8,
    /// The number of fields up to the last one that is not null, and the offset at which that one ends.
    kept: (u8, usize),
}

impl FieldsWriter<'_> {
    #[inline]
    pub(super) fn put<T: Part>(&mut self, value: &T) {
        self.put_with(|to| value.write(to));
    }

    /// Writes a field with a function.
    #[inline]
    pub(super) fn put_with(&mut self, write: impl FnOnce(&mut Writer)) {
        let start = self.to.len();
        write(self.to);
        self.fields += 1;
        if !self.to.is_null_since(start) {
            self.kept = (self.fields, self.to.len());
        }
    }
}

impl Writer {
    /// Writes an array of fields, without the nulls at its end.
    pub(super) fn fields(&mut self, write: impl FnOnce(&mut FieldsWriter<'_>)) {
        let head = self.len();
        // The number of fields is known at the end: the head of one byte is overwritten then.
        self.array(0);
        let start = self.len();
        let mut fields = FieldsWriter { to: self, fields: 0, kept: (0, start) };
        write(&mut fields);
        let (kept, end) = fields.kept;
        self.close_array(head, kept, end);
    }
}

/// Reads the fields of one array.
pub(super) struct FieldsReader<'r, 'b> {
    from: &'r mut Reader<'b>,
    left: usize,
}

impl<'b> FieldsReader<'_, 'b> {
    /// Reads the next field. Its name is only used in errors.
    #[inline(always)]
    pub(super) fn take<T: Part>(&mut self, name: &'static str) -> Decoded<T> {
        self.take_or(name, T::absent, T::read)
    }

    /// Reads the next field with a function.
    #[inline(always)]
    pub(super) fn take_or<T>(
        &mut self,
        name: &'static str,
        absent: impl FnOnce() -> Option<T>,
        read: impl FnOnce(&mut Reader<'b>) -> Decoded<T>,
    ) -> Decoded<T> {
        if self.left == 0 {
            return absent().ok_or_else(|| Fault::new(self.from.at(), "the field is missing").within(name));
        }
        self.left -= 1;
        if self.from.is_null()
            && let Some(value) = absent()
        {
            self.from.null();
            return Ok(value);
        }
        read(self.from).map_err(|fault| fault.within(name))
    }

    /// The offset of the next field.
    pub(super) fn at(&self) -> usize {
        self.from.at()
    }

    /// Refuses fields beyond those that were taken.
    pub(super) fn end(&self) -> Decoded<()> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::new(
                self.at(),
                format!("{left} more fields than this build knows; use a newer build"),
            )),
        }
    }

    /// Refuses fields beyond those that were taken, and bytes after the array.
    pub(super) fn end_of_body(&self) -> Decoded<()> {
        self.end()?;
        self.from.end()
    }
}

impl<'b> Reader<'b> {
    /// Begins to read an array of fields.
    pub(super) fn open_fields(&mut self) -> Decoded<FieldsReader<'_, 'b>> {
        let left = self.array()?;
        Ok(FieldsReader { from: self, left })
    }

    /// Reads an array of fields, and refuses fields that `read` does not take.
    #[inline]
    pub(super) fn fields<T>(
        &mut self,
        read: impl FnOnce(&mut FieldsReader<'_, 'b>) -> Decoded<T>,
    ) -> Decoded<T> {
        let mut fields = self.open_fields()?;
        let value = read(&mut fields)?;
        fields.end()?;
        Ok(value)
    }
}

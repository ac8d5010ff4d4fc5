//! Arrays of fields, the shape of everything that is stored, and the parts that fields are made of. It must not
//! know which event has which fields.
//!
//! A field with the value that it mostly has is stored as null, or not at all at the end of its array, so that
//! common events stay tiny and new fields can be added: where an older build wrote none, they are absent, and
//! where a newer build wrote one that this build does not know, the array is refused, never misread.

use super::cbor::{Fault, Read, Reader, Writer};

/// What a field holds.
pub(super) trait Part: Sized {
    /// Writes the value: one CBOR item.
    fn write(&self, to: &mut Writer);

    /// Reads it.
    fn read(from: &mut Reader<'_>) -> Read<Self>;

    /// What a null or missing field means; `None` where the field must be there. Stored: it never changes.
    fn absent() -> Option<Self> {
        None
    }
}

/// Writes the fields of one array.
pub(super) struct FieldsWriter<'w> {
    to: &'w mut Writer,
    fields: u8,
    /// The fields up to the last that is not null, and where that one ends.
    kept: (u8, usize),
}

impl FieldsWriter<'_> {
    #[inline]
    pub(super) fn put<T: Part>(&mut self, value: &T) {
        self.put_with(|to| value.write(to));
    }

    /// Puts a field that a function of its own writes.
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
        // How many fields there are is known at the end: the head, of one byte, is written again.
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
    /// The next field. Its name is for errors alone.
    #[inline]
    pub(super) fn take<T: Part>(&mut self, name: &'static str) -> Read<T> {
        self.take_or(name, T::absent, T::read)
    }

    /// The next field, read by a function of its own.
    #[inline]
    pub(super) fn take_or<T>(
        &mut self,
        name: &'static str,
        absent: impl FnOnce() -> Option<T>,
        read: impl FnOnce(&mut Reader<'b>) -> Read<T>,
    ) -> Read<T> {
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

    /// The next field, a text that need not be copied.
    pub(super) fn take_text(&mut self, name: &'static str) -> Read<&'b str> {
        self.take_or(name, || None, Reader::text)
    }

    /// The offset of the next field.
    pub(super) fn at(&self) -> usize {
        self.from.at()
    }

    /// Refuses fields beyond those that were taken.
    pub(super) fn end(&self) -> Read<()> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::new(
                self.at(),
                format!("more fields than this build knows, by {left}; use a newer build"),
            )),
        }
    }

    /// Refuses fields beyond those that were taken, and bytes behind the array.
    pub(super) fn end_of_body(&self) -> Read<()> {
        self.end()?;
        self.from.end()
    }
}

impl<'b> Reader<'b> {
    /// Begins to read an array of fields.
    pub(super) fn open_fields(&mut self) -> Read<FieldsReader<'_, 'b>> {
        let left = self.array()?;
        Ok(FieldsReader { from: self, left })
    }

    /// Reads an array of fields, and refuses those that `read` does not take.
    #[inline]
    pub(super) fn fields<T>(&mut self, read: impl FnOnce(&mut FieldsReader<'_, 'b>) -> Read<T>) -> Read<T> {
        let mut fields = self.open_fields()?;
        let value = read(&mut fields)?;
        fields.end()?;
        Ok(value)
    }
}

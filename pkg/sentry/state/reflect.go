package state

import "reflect"

// Of is package reflect's view of a type. An interface inside it is taken to hold any of
// impls that implement it.
func Of(t reflect.Type, impls ...reflect.Type) Type { return reflected{t, impls} }

type reflected struct {
	t     reflect.Type
	impls []reflect.Type
}

func (r reflected) Name() string {
	if r.t.Name() == "" {
		return ""
	}
	if r.t.PkgPath() == "" {
		return r.t.Name()
	}
	return r.t.PkgPath() + "." + r.t.Name()
}

func (r reflected) String() string     { return r.t.String() }
func (r reflected) Kind() reflect.Kind { return r.t.Kind() }

func (r reflected) Parts() []Part {
	of := func(label string, t reflect.Type) Part { return Part{Label: label, Type: reflected{t, r.impls}} }
	switch r.t.Kind() {
	case reflect.Struct:
		parts := make([]Part, 0, r.t.NumField())
		for f := range r.t.Fields() {
			p := of("."+f.Name, f.Type)
			p.Field, p.Tag = f.Name, f.Tag
			parts = append(parts, p)
		}
		return parts
	case reflect.Pointer:
		return []Part{of("", r.t.Elem())}
	case reflect.Slice, reflect.Array:
		return []Part{of("[]", r.t.Elem())}
	case reflect.Map:
		return []Part{of("[key]", r.t.Key()), of("[]", r.t.Elem())}
	case reflect.Interface:
		var parts []Part
		for _, t := range r.impls {
			if t.Implements(r.t) {
				parts = append(parts, of("", t))
			}
		}
		return parts
	}
	return nil
}

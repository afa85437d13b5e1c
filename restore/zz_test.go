package restore
import ("testing";"os";"bufio";"github.com/pidgraft/pidgraft/image";"github.com/pidgraft/pidgraft/forest";"github.com/pidgraft/pidgraft/restore/plan";"github.com/pidgraft/pidgraft/restore/model";"bytes")
func load(b *testing.B) *forest.Forest{
 in,err:=os.Open(os.Getenv("ZZIMG")); if err!=nil{b.Skip()}
 defer in.Close()
 d:=image.NewDecoder(bufio.NewReader(in)); f,err:=d.Decode(); if err!=nil{b.Fatal(err)}
 return f
}
var opts=plan.Options{PidMax: forest.MaxNumber + 1, OwnPidMax: true}
func BenchmarkZZMake(b *testing.B){ f:=load(b); b.ReportAllocs(); for b.Loop(){ if _,err:=plan.Make(f,opts);err!=nil{b.Fatal(err)}}}
func BenchmarkZZExec(b *testing.B){ f:=load(b); p,_:=plan.Make(f,opts); b.ReportAllocs(); for b.Loop(){ if _,err:=model.Execute(p,f,nil);err!=nil{b.Fatal(err)}}}
func BenchmarkZZDiff(b *testing.B){ f:=load(b); p,_:=plan.Make(f,opts); g,_:=model.Execute(p,f,nil); b.ReportAllocs(); for b.Loop(){ if d:=forest.Diff(f,g,forest.DiffOptions{});len(d)>0{b.Fatal(d)}}}
func BenchmarkZZValidate(b *testing.B){ f:=load(b);  b.ReportAllocs(); for b.Loop(){ if err:=forest.Validate(f);err!=nil{b.Fatal(err)}}}
func BenchmarkZZEncode(b *testing.B){ f:=load(b);  b.ReportAllocs(); for b.Loop(){ var bb bytes.Buffer; if err:=image.Write(&bb,f);err!=nil{b.Fatal(err)}}}

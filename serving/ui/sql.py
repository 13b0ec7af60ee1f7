import streamlit as st
from serving.ui.explorer import View
def draw(view: View) -> None:
    st.write("soon")
